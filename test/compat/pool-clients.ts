import { once } from 'node:events';
import { setImmediate } from 'node:timers/promises';
import type { PoolClient } from 'pg';
import { describe, expect, it } from 'vitest';
import type { LockstepPool } from '../../src/index.ts';
import { until } from '../integration/fixture.ts';
import { NOW } from './pool-kinds.ts';
import type { PoolKind } from './pool-kinds.ts';

interface Checkout {
  readonly error: Error | undefined;
  readonly client: PoolClient | undefined;
  readonly release: (error?: Error | boolean) => void;
}

function checkOut(pool: LockstepPool): Promise<Checkout> {
  return new Promise((resolve) => {
    let isSynchronous = true;
    const returned: unknown = pool.connect((error, client, release) => {
      expect(isSynchronous).toBe(false);
      resolve({ error, client, release });
    });
    isSynchronous = false;
    expect(returned).toBeUndefined();
  });
}

async function backendOf(client: PoolClient): Promise<number> {
  const { rows } = await client.query<{ pid: number }>(
    '/* lockstep: leader */ SELECT pg_backend_pid() AS pid',
  );
  return rows[0]?.pid ?? 0;
}

/** What connect() hands out, and how it comes back. */
export function describeClients(kind: PoolKind): void {
  describe('connect and release', () => {
    it('hands out a client by promise and by callback', async () => {
      const pool = kind.create();
      const client = await pool.connect();
      expect((await client.query('SELECT $1::text AS name', ['bolt'])).rows).toEqual([{ name: 'bolt' }]);
      client.release();
      const checkout = await checkOut(pool);
      expect(checkout.error).toBeUndefined();
      const { rows } = (await checkout.client?.query('SELECT 2 AS two')) ?? {};
      expect(rows).toEqual([{ two: 2 }]);
      checkout.release();
      await pool.end();
    });

    it('tells that a client has nothing more to do', async () => {
      const pool = kind.create();
      const client = await pool.connect();
      let drained = 0;
      client.on('drain', () => (drained += 1));
      const both = Promise.all([client.query('SELECT 1'), client.query('SELECT 2')]);
      await once(client, 'drain');
      await both;
      expect(drained).toBe(1);
      client.release();
      await pool.end();
    });

    it('counts a client that is lent, also before its first statement', async () => {
      const pool = kind.create({ max: 2 });
      const client = await pool.connect();
      expect([pool.totalCount, pool.idleCount]).toEqual([1, 0]);
      await client.query(NOW);
      client.release();
      expect([pool.totalCount, pool.idleCount]).toEqual([1, 1]);
      await pool.end();
    });

    it('refuses a second release of the same checkout', async () => {
      const pool = kind.create();
      const client = await pool.connect();
      client.release();
      expect(() => client.release()).toThrow('already been released');
      expect(() => client.release()).toThrow('already been released');
      const { release } = await checkOut(pool);
      release();
      expect(() => release()).toThrow('already been released');
      await pool.end();
    });

    it('closes the connection of a client that is released with an error or true', async () => {
      const pool = kind.create();
      for (const reason of [new Error('of no further use'), true]) {
        const client = await pool.connect();
        await client.query(NOW);
        client.release(reason);
        await until('the connection to be gone', () => pool.totalCount === 0);
      }
      await pool.end();
    });

    it('takes the connection of an ended client out of the pool', async () => {
      const pool = kind.create({ max: 1 });
      const client = await pool.connect();
      await client.query(NOW);
      void (client as unknown as { end(): Promise<void> }).end();
      client.release();
      expect(() => client.release()).toThrow('already been released');
      expect([pool.totalCount, pool.idleCount]).toEqual([0, 0]);
      expect((await pool.query(NOW)).rows).toHaveLength(1);
      await pool.end();
    });

    it('hands out a client that shows its account, and what it was asked to read', async () => {
      const pool = kind.create({ binary: true } as object);
      const client = await pool.connect();
      const { user, database, binary, pipeline } = client as unknown as Record<string, unknown>;
      expect([binary, pipeline]).toEqual([true, false]);
      const { rows } = await client.query('SELECT current_user::text, current_database()::text, 7 AS seven');
      expect(rows).toEqual([{ current_user: user, current_database: database, seven: 7 }]);
      client.release();
      await pool.end();
    });

    it('lends no more than max at a time, in turn', async () => {
      const pool = kind.create({ max: 1 });
      const first = await pool.connect();
      const order: number[] = [];
      const later = [1, 2].map(async (number) => {
        const client = await pool.connect();
        order.push(number);
        client.release();
      });
      await setImmediate();
      expect(pool.waitingCount).toBe(2);
      first.release();
      await Promise.all(later);
      expect(order).toEqual([1, 2]);
      expect(pool.waitingCount).toBe(0);
      await pool.end();
    });

    it('sends one statement at a time over one connection', async () => {
      const pool = kind.create({ max: 1 });
      const text =
        '/* lockstep: leader */ SELECT count(*)::int AS running FROM pg_stat_activity WHERE query = $1';
      const answers = await Promise.all(Array.from({ length: 20 }, () => pool.query(text, [text])));
      expect(new Set(answers.map(({ rows }) => (rows as [{ running: number }])[0].running))).toEqual(
        new Set([1]),
      );
      await pool.end();
    });
  });

  describe('events', () => {
    it('tells of each acquire and release, of queries too, with the client', async () => {
      const pool = kind.create();
      const acquired: unknown[] = [];
      const released: unknown[] = [];
      pool.on('acquire', (client) => acquired.push(client));
      pool.on('release', (error, client) => released.push([error ?? null, client]));
      await Promise.all(
        Array.from({ length: 10 }, async () => {
          const query = pool.query(NOW);
          (await pool.connect()).release();
          await query;
        }),
      );
      expect(acquired).toHaveLength(20);
      expect(released).toHaveLength(20);
      for (const client of acquired) expect(client).toBeTypeOf('object');
      for (const release of released) expect(release).toEqual([null, expect.any(Object)]);
      await pool.end();
    });

    it('tells with which error a client was released', async () => {
      const pool = kind.create();
      const client = await pool.connect();
      const told = once(pool, 'release');
      const reason = new Error('of no further use');
      client.release(reason);
      const [error, releasedClient] = (await told) as [unknown, unknown];
      expect(error).toBe(reason);
      expect(releasedClient).toBe(client);
      await pool.end();
    });

    it('tells of each connection that is made and closed', async () => {
      const pool = kind.create({ max: 1 });
      const told: string[] = [];
      pool.on('connect', () => told.push('connect'));
      pool.on('remove', () => told.push('remove'));
      await pool.query(NOW);
      await pool.query(NOW);
      expect(told).toEqual(['connect']);
      await pool.end();
      await until('the removal to be told', () => told.length > 1);
      expect(told).toEqual(['connect', 'remove']);
    });
  });

  describe('a connection that breaks', () => {
    it('while idle is told of by the pool, and is gone', async () => {
      const pool = kind.create();
      const client = await pool.connect();
      const pid = await backendOf(client);
      client.release();
      const told = once(pool, 'error');
      const admin = kind.create();
      await admin.query('SELECT pg_terminate_backend($1)', [pid]);
      await admin.end();
      const [error, lost] = (await told) as [Error, unknown];
      expect(error).toMatchObject({ code: '57P01' });
      expect(lost).toBeTypeOf('object');
      expect((error as Error & { client?: unknown }).client).toBe(lost);
      expect([pool.totalCount, pool.idleCount]).toEqual([0, 0]);
      expect((await pool.query(NOW)).rows).toHaveLength(1);
      await pool.end();
    });

    it('while lent is told of by its client alone', async () => {
      const pool = kind.create({ max: 1 });
      const poolErrors: unknown[] = [];
      pool.on('error', (error) => poolErrors.push(error));
      const client = await pool.connect();
      const pid = await backendOf(client);
      const told = once(client, 'error');
      // The server's last word and the end of the connection may be two errors.
      client.on('error', () => undefined);
      // In a transaction also a cluster's client keeps its connection.
      await client.query('BEGIN');
      const held = await backendOf(client);
      const admin = kind.create();
      await admin.query('SELECT pg_terminate_backend($1)', [held || pid]);
      await admin.end();
      expect((await told)[0]).toBeInstanceOf(Error);
      client.release();
      expect(poolErrors).toEqual([]);
      await until('the connection to be gone', () => pool.totalCount === 0);
      expect((await pool.query(NOW)).rows).toHaveLength(1);
      await pool.end();
    });

    it('under a query fails that query, and all of them broken at once leave the pool usable', async () => {
      const pool = kind.create({ max: 4, application_name: 'compat-broken' });
      pool.on('error', () => undefined);
      const sleeping = Array.from({ length: 4 }, () =>
        pool.query('DO $$ BEGIN PERFORM pg_sleep(20); END $$').catch((error: unknown) => error),
      );
      const admin = kind.create();
      await until('all of them to be broken', async () => {
        const { rows } = await admin.query<{ pid: number }>(
          `SELECT pid FROM pg_stat_activity WHERE application_name = 'compat-broken' AND query LIKE 'DO %'`,
        );
        if (rows.length < 4) return false;
        await admin.query('SELECT pg_terminate_backend(pid) FROM unnest($1::int[]) AS pid', [
          rows.map(({ pid }) => pid),
        ]);
        return true;
      });
      await admin.end();
      for (const error of await Promise.all(sleeping)) expect(error).toBeInstanceOf(Error);
      const answers = await Promise.all(Array.from({ length: 8 }, () => pool.query(NOW)));
      expect(answers).toHaveLength(8);
      await pool.end();
    });
  });
}
