import { once } from 'node:events';
import { createServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import type { PoolClient } from 'pg';
import { describe, expect, it } from 'vitest';
import { freePort, until } from '../integration/fixture.ts';
import { NOW } from './pool-kinds.ts';
import type { PoolKind } from './pool-kinds.ts';

/** Listens and does with each connection what it is told; what PostgreSQL would say is never said. */
async function withServer(
  onConnection: (socket: Socket) => void,
  work: (port: number) => Promise<void>,
): Promise<void> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    onConnection(socket);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  try {
    await work((server.address() as AddressInfo).port);
  } finally {
    for (const socket of sockets) socket.destroy();
    server.close();
  }
}

/** How many connections there are, how long they live, and what becomes of a pool whose server is not there. */
export function describeConnections(kind: PoolKind): void {
  describe('connecting', () => {
    it('fails with the pool unharmed when nobody listens', async () => {
      const pool = kind.createFor(await freePort());
      await expect(pool.query('SELECT 1')).rejects.toBeInstanceOf(Error);
      const outcome = await new Promise<unknown[]>((resolve) => {
        pool.connect((...args) => resolve(args));
      });
      expect(outcome[0]).toBeInstanceOf(Error);
      expect(outcome[1]).toBeUndefined();
      expect(outcome[2]).toBeTypeOf('function');
      expect([pool.totalCount, pool.idleCount, pool.waitingCount]).toEqual([0, 0, 0]);
      await pool.end();
    });

    it('fails for everyone in turn when the server hangs up', async () => {
      await withServer(
        (socket) => socket.destroy(),
        async (port) => {
          const pool = kind.createFor(port, { max: 1 });
          const failures = await Promise.allSettled([pool.connect(), pool.connect()]);
          expect(failures.map(({ status }) => status)).toEqual(['rejected', 'rejected']);
          await pool.end();
        },
      );
    });

    it('waits for a silent server no longer than connectionTimeoutMillis', async () => {
      await withServer(
        (socket) => socket.resume(),
        async (port) => {
          const pool = kind.createFor(port, { connectionTimeoutMillis: 20, failoverTimeoutMs: 15_000 });
          for (let attempt = 0; attempt < 5; attempt += 1)
            await expect(pool.connect()).rejects.toThrow('timeout');
          expect(pool.idleCount).toBe(0);
          await pool.end();
        },
      );
    });

    it('waits for a free client no longer than that either, and later ones still get theirs', async () => {
      const pool = kind.create({ max: 1, connectionTimeoutMillis: 400 });
      const client = await pool.connect();
      const early = expect(pool.connect()).rejects.toThrow('timeout exceeded');
      const earlyQuery = expect(pool.query(NOW)).rejects.toThrow('timeout exceeded');
      await delay(200);
      const later = pool.connect();
      await Promise.all([early, earlyQuery]);
      client.release();
      (await later).release();
      expect((await pool.query(NOW)).rows).toHaveLength(1);
      await pool.end();
    });

    it('asks verify before a new client is lent', async () => {
      let isRefusing = true;
      const verify = (_client: PoolClient, done: (error?: Error) => void): void =>
        done(isRefusing ? new Error('not this one') : undefined);
      const pool = kind.create({ verify } as object);
      await expect(pool.connect()).rejects.toThrow('not this one');
      await until('the refused one to be gone', () => pool.totalCount === 0);
      isRefusing = false;
      const client = await pool.connect();
      await expect(client.query(NOW)).resolves.toMatchObject({ rowCount: 1 });
      client.release();
      await pool.end();
    });

    it('runs onConnect once for each connection, waits for it, and fails with it', async () => {
      const seen: unknown[] = [];
      let failure: Error | null = new Error('not prepared');
      const pool = kind.create({
        poolSize: 2,
        onConnect: async (client: PoolClient) => {
          if (failure !== null) throw failure;
          const { rows } = await client.query<{ one: number }>('SELECT 1 AS one');
          seen.push(rows[0]?.one);
        },
      } as object);
      for (let attempt = 0; attempt < 5; attempt += 1) {
        await expect(pool.query(NOW)).rejects.toThrow('not prepared');
        await expect(pool.connect()).rejects.toThrow('not prepared');
      }
      expect([pool.totalCount, pool.idleCount]).toEqual([0, 0]);
      failure = null;
      let made = 0;
      pool.on('connect', () => (made += 1));
      const clients = await Promise.all([pool.connect(), pool.connect()]);
      expect(seen).toEqual([1, 1]);
      await Promise.all(clients.map((client) => client.query(NOW)));
      for (const client of clients) client.release();
      await pool.query(NOW);
      // A cluster's client may need a connection to another server then.
      expect(seen).toHaveLength(made);
      if (kind.isSingleServer) expect(made).toBe(2);
      await pool.end();
    });
  });

  describe('connections', () => {
    it('are no more than max, and counted', async () => {
      const pool = kind.create({ max: 3 });
      expect([pool.totalCount, pool.idleCount, pool.waitingCount]).toEqual([0, 0, 0]);
      await Promise.all(Array.from({ length: 12 }, () => pool.query(NOW)));
      expect([pool.totalCount, pool.idleCount, pool.waitingCount]).toEqual([3, 3, 0]);
      await pool.end();
      expect([pool.totalCount, pool.idleCount]).toEqual([0, 0]);
    });

    it('are closed when idle for idleTimeoutMillis, and made again', async () => {
      const pool = kind.create({ idleTimeoutMillis: 10 });
      for (let round = 0; round < 5; round += 1) {
        await pool.query(NOW);
        expect(pool.totalCount).toBe(1);
        await until('the idle connection to be gone', () => pool.totalCount === 0 && pool.idleCount === 0);
      }
      await pool.end();
    });

    it('stay open while lent, however long', async () => {
      const pool = kind.create({ idleTimeoutMillis: 1 });
      const client = await pool.connect();
      await client.query('BEGIN');
      await delay(30);
      expect([pool.totalCount, pool.idleCount]).toEqual([1, 0]);
      await client.query('COMMIT');
      client.release();
      await pool.end();
    });

    it('are kept down to min when idle', async () => {
      const pool = kind.create({ max: 3, min: 1, idleTimeoutMillis: 10 });
      await Promise.all(Array.from({ length: 3 }, () => pool.query(NOW)));
      await until('all but one to be gone', () => pool.idleCount === 1);
      await delay(40);
      expect([pool.totalCount, pool.idleCount]).toEqual([1, 1]);
      await pool.end();
    });

    it('are replaced after maxUses, also for one who waits', async () => {
      const pool = kind.create({ max: 1, maxUses: 2 });
      const pids = await Promise.all(
        Array.from({ length: 4 }, async () => {
          const { rows } = await pool.query<{ pid: number }>(
            '/* lockstep: leader */ SELECT pg_backend_pid() AS pid',
          );
          return rows[0]?.pid;
        }),
      );
      expect(pids[0]).toBe(pids[1]);
      expect(pids[2]).toBe(pids[3]);
      expect(pids[1]).not.toBe(pids[2]);
      expect(pool.idleCount).toBe(0);
      await pool.end();
    });

    it('are closed after maxLifetimeSeconds, in use only once they come back', async () => {
      const pool = kind.create({ max: 2, maxLifetimeSeconds: 1 });
      const client = await pool.connect();
      await client.query('BEGIN');
      await pool.query(NOW);
      expect([pool.totalCount, pool.expiredCount]).toEqual([2, 0]);
      await until('the idle one to be gone', () => pool.totalCount === 1);
      await until('the lent one to be expired', () => pool.expiredCount === 1);
      await client.query('COMMIT');
      client.release();
      await until('that one to be gone', () => pool.totalCount === 0);
      expect(pool.expiredCount).toBe(0);
      expect((await pool.query(NOW)).rows).toHaveLength(1);
      await pool.end();
    });
  });

  describe('end', () => {
    it('ends a pool that was never used, by promise and by callback', async () => {
      await kind.create().end();
      const pool = kind.create();
      await new Promise<void>((resolve) => expect(pool.end(resolve)).toBeUndefined());
      expect([pool.ending, pool.ended]).toEqual([true, true]);
    });

    it('lets queries that were accepted finish', async () => {
      // With pg-pool those that wait for a client never settle.
      const pool = kind.create({ max: kind.isSingleServer ? 20 : 3 });
      let finished = 0;
      const queries = Array.from({ length: 20 }, async () => {
        await pool.query(NOW);
        finished += 1;
      });
      await pool.end();
      await Promise.all(queries);
      expect(finished).toBe(20);
      expect(pool.totalCount).toBe(0);
    });

    it('refuses everything afterwards, by promise and by callback', async () => {
      const pool = kind.create();
      await pool.end();
      await expect(pool.query(NOW)).rejects.toThrow('after calling end');
      await expect(pool.connect()).rejects.toThrow('after calling end');
      await expect(pool.end()).rejects.toThrow('more than once');
      const calls = [
        (done: (error?: Error) => void): unknown => pool.query(NOW, done),
        (done: (error?: Error) => void): unknown => pool.connect(done),
        (done: (error?: Error) => void): unknown => pool.end(done),
      ];
      for (const start of calls) expect(await new Promise((resolve) => start(resolve))).toBeInstanceOf(Error);
    });
  });
}
