import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtemp, open, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { cart, cas, counter, lww, map, quorum, siblings } from '../../../src/leaderless/index.ts';
import type { Quorum } from '../../../src/leaderless/index.ts';
import { systemRuntime } from '../../../src/leaderless/runtime.ts';
import { until } from '../fixture.ts';
import { IndependentServers } from './servers.ts';

const HOUR_MS = 3_600_000;
const run = promisify(execFile);

let servers: IndependentServers;
let q: Quorum;

beforeAll(async () => {
  servers = await IndependentServers.start();
  q = await servers.quorum();
});

afterAll(async () => {
  await servers?.[Symbol.asyncDispose]();
});

async function withClient<T>(name: string, work: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client({ connectionString: servers.named(name).url });
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}

/** Another process, whose wall clock is off by what the function says. */
async function withClock<T>(errorMs: () => number, work: (opened: Quorum) => Promise<T>): Promise<T> {
  const nodes = servers.servers.map(({ name, url }) => ({ name, url }));
  const opened = await quorum({ nodes }, { ...systemRuntime, nowMs: () => Date.now() + errorMs() });
  try {
    return await work(opened);
  } finally {
    await opened.close();
  }
}

describe('a value that is too large', () => {
  it('is refused by every kind, and what is there stays', async () => {
    const long = 'x'.repeat(1_048_576);
    const refused = { code: 'VALUE_REFUSED', outcome: 'not-applied' };
    const prefs = q.collection('prefs', lww<string>());
    await prefs.put('k', 'short');
    await expect(prefs.put('k', long)).rejects.toMatchObject(refused);
    await expect(prefs.putMany([['k', long]])).rejects.toMatchObject(refused);
    expect((await prefs.get('k')).value).toBe('short');
    const sessions = q.collection('sessions', map<{ a: string; b: string }>());
    await sessions.set('k', { a: 'short' });
    await expect(sessions.set('k', { a: 'other', b: long })).rejects.toMatchObject(refused);
    expect((await sessions.get('k')).value).toEqual({ a: 'short' });
    const notes = q.collection('notes', siblings<string>());
    await expect(notes.put('k', long)).rejects.toMatchObject(refused);
    const seats = q.collection('seats', cas<string>());
    await seats.create('k', 'short');
    await expect(seats.update('k', () => long)).rejects.toMatchObject(refused);
    await expect(seats.compareAndSet('k', 1, long)).rejects.toMatchObject(refused);
    expect((await seats.get('k')).value).toBe('short');
    const carts = q.collection('carts', cart());
    await expect(carts.add('k', { sku: long, quantity: 1 })).rejects.toMatchObject(refused);
    await expect(carts.add('k', { sku: 1, quantity: 2 ** 53 })).rejects.toMatchObject(refused);
    const counts = q.collection('counts', counter());
    await expect(counts.add('k', Number.POSITIVE_INFINITY)).rejects.toMatchObject(refused);
  });

  it('goes alone where it is allowed, also when it takes more than may wait', async () => {
    const opened = await servers.quorum({ maxQueueBytes: 100_000, deadlineMs: 20_000 });
    const large = 'x'.repeat(200_000);
    const prefs = opened.collection('prefs', lww<string>());
    await Promise.all(['a', 'b', 'c'].map((key) => prefs.put(key, large)));
    for (const key of ['a', 'b', 'c'])
      expect((await prefs.get(key, { level: 'all' })).value).toHaveLength(200_000);
  });
});

describe('a clock that jumps', () => {
  it('an hour ahead: writes are refused, nothing is lost, and they go on when it is right again', async () => {
    let errorMs = 0;
    await withClock(
      () => errorMs,
      async (opened) => {
        const prefs = opened.collection('prefs', lww<string>());
        const carts = opened.collection('carts', cart());
        const seats = opened.collection('seats', cas<number>());
        await prefs.put('jumps', 'before');
        await carts.add('jumps', { sku: 1, quantity: 1 });
        errorMs = HOUR_MS;
        const refused = { code: 'CLOCK_SKEW', outcome: 'not-applied' };
        await expect(prefs.put('jumps', 'meanwhile')).rejects.toMatchObject(refused);
        await expect(carts.add('jumps', { sku: 2, quantity: 1 })).rejects.toMatchObject({
          code: 'CLOCK_SKEW',
        });
        // No clock tells in which order these go.
        expect(await seats.create('jumps', 1)).toMatchObject({ kind: 'applied' });
        expect((await prefs.get('jumps')).value).toBe('before');
        errorMs = 0;
        await prefs.put('jumps', 'after');
        await carts.add('jumps', { sku: 2, quantity: 1 });
        await carts.add('jumps', { sku: 1, quantity: 1 });
      },
    );
    expect((await q.collection('prefs', lww<string>()).get('jumps')).value).toBe('after');
    expect((await q.collection('carts', cart()).get('jumps')).value).toEqual([
      { sku: 1, quantity: 2 },
      { sku: 2, quantity: 1 },
    ]);
  });

  it('an hour back: whoever has seen later values is told, and overwrites none', async () => {
    let errorMs = 0;
    const mine = q.collection('prefs', lww<string>());
    await withClock(
      () => errorMs,
      async (opened) => {
        const prefs = opened.collection('prefs', lww<string>());
        await prefs.put('falls', 'before');
        errorMs = -HOUR_MS;
        await expect(prefs.put('falls', 'after')).rejects.toMatchObject({
          code: 'CLOCK_SKEW',
          outcome: 'not-applied',
          message: expect.stringContaining('set it (NTP)'),
        });
      },
    );
    expect((await mine.get('falls')).value).toBe('before');
    // One that starts with such a clock has seen nothing yet: its write is the older one.
    await withClock(
      () => -HOUR_MS,
      async (opened) => opened.collection('prefs', lww<string>()).put('falls', 'late'),
    );
    expect((await mine.get('falls')).value).toBe('before');
  });
});

describe('a server of another quorum', () => {
  it('is not used, by nobody, and is told apart when the right one is back', async () => {
    const prefs = q.collection('prefs', lww<string>());
    await prefs.put('home', 'here', { level: 'all' });
    const reconnect = `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'lockstep leaderless'`;
    const before = await withClient('q3', async (client) => {
      const { rows } = await client.query('SELECT members, cluster FROM lockstep_leaderless.node');
      await client.query(
        `UPDATE lockstep_leaderless.node SET cluster = 'other',
           members = ARRAY[(SELECT system_identifier::text FROM pg_control_system()), '8', '9']`,
      );
      await client.query(reconnect);
      return rows[0] as { members: string[]; cluster: string };
    });
    try {
      await until('it is refused', () => q.status().nodes[2]?.state === 'refused');
      expect(q.status().nodes[2]?.problem).toMatch(/another quorum/);
      await prefs.put('home', 'gone');
      await expect(prefs.put('home', 'all', { level: 'all', deadlineMs: 300 })).rejects.toMatchObject({
        code: 'QUORUM_NOT_REACHED',
      });
      await expect(servers.quorum()).rejects.toMatchObject({ code: 'CONFIG_INVALID' });
      await withClient('q3', async (client) => {
        const { rows } = await client.query(
          `SELECT value FROM lockstep_leaderless.registers WHERE key = 'home'`,
        );
        expect(rows).toEqual([{ value: '"here"' }]);
      });
    } finally {
      await withClient('q3', (client) =>
        client.query('UPDATE lockstep_leaderless.node SET cluster = $1, members = $2', [
          before.cluster,
          before.members,
        ]),
      );
    }
    await until('it is used again', () => q.status().nodes[2]?.state === 'up');
    expect((await prefs.get('home', { level: 'all' })).value).toMatch(/gone|all/);
  });
});

describe.skipIf(process.getuid?.() !== 0 || process.platform !== 'linux')('a full disk', () => {
  it('of one server is told where that one is needed, is not missed else, and costs nothing', async () => {
    const disk = await mkdtemp(join(tmpdir(), 'lockstep-test-disk-'));
    const { uid } = await stat(servers.dataDir('q3'));
    await run('mount', ['-t', 'tmpfs', '-o', `size=8m,mode=0755,uid=${uid}`, 'tmpfs', disk]);
    const tables = ['registers', 'tallies', 'slots'];
    const move = async (to: string): Promise<void> =>
      withClient('q3', async (client) => {
        for (const table of tables)
          await client.query(`ALTER TABLE lockstep_leaderless.${table} SET TABLESPACE ${to}`);
      });
    try {
      await withClient('q3', (client) => client.query(`CREATE TABLESPACE tight LOCATION '${disk}'`));
      await move('tight');
      await fill(join(disk, 'ballast'));
      const prefs = q.collection('prefs', lww<string>());
      const carts = q.collection('carts', cart());
      const seats = q.collection('seats', cas<number>());
      const keys = Array.from({ length: 100 }, (_, index) => `full${index}`);
      await Promise.all(
        keys.map(async (key, index) => {
          await prefs.put(key, 'x'.repeat(500));
          await carts.add(key, { sku: 'x'.repeat(500), quantity: 1 });
          expect(await seats.create(key, index)).toMatchObject({ kind: 'applied' });
        }),
      );
      await expect(
        // More than what is left on the pages that are there.
        prefs.put('last', randomBytes(40_000).toString('hex'), { level: 'all', deadlineMs: 500 }),
      ).rejects.toMatchObject({
        code: 'QUORUM_NOT_REACHED',
        outcome: 'unknown',
        message: expect.stringMatching(/q3: .*No space left on device/),
      });
      await rm(join(disk, 'ballast'));
      await until('it has room again, and what it missed', async () =>
        withClient('q3', async (client) => {
          const { rows } = await client.query<{ registers: number; tallies: number }>(
            `SELECT (SELECT count(*)::int FROM lockstep_leaderless.registers WHERE key LIKE 'full%') AS registers,
               (SELECT count(*)::int FROM lockstep_leaderless.tallies WHERE key LIKE 'full%') AS tallies`,
          );
          return rows[0]?.registers === 100 && rows[0].tallies === 100;
        }),
      );
      for (const [index, key] of keys.entries()) expect((await seats.get(key)).value).toBe(index);
    } finally {
      await rm(join(disk, 'ballast'), { force: true });
      await move('pg_default');
      await withClient('q3', (client) => client.query('DROP TABLESPACE tight'));
      await run('umount', [disk]);
      await rm(disk, { recursive: true });
    }
  });
});

async function fill(path: string): Promise<void> {
  const file = await open(path, 'w');
  try {
    for (;;) await file.write(Buffer.alloc(4_096));
  } catch (error) {
    expect((error as NodeJS.ErrnoException).code).toBe('ENOSPC');
  } finally {
    await file.close();
  }
}
