import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { connect } from '../../src/index.ts';
import type { LockstepOptions, LockstepPool, StatementLogEntry } from '../../src/index.ts';
import { startTestCluster } from '../../src/testing/cluster.ts';
import type { TestCluster } from '../../src/testing/cluster.ts';
import { until } from './fixture.ts';
import { pauseReplay } from './replay-pause.ts';

let cluster: TestCluster;
let pool: LockstepPool;
let followers: string[];

beforeAll(async () => {
  cluster = await startTestCluster();
  pool = open();
  await pool.query('CREATE TABLE item (id int PRIMARY KEY, v text)');
  await pool.query('CREATE TABLE brake ()');
  const leader = await cluster.leader();
  followers = cluster.nodes.filter(({ name }) => name !== leader).map(({ name }) => name);
});

afterAll(async () => {
  await pool?.end();
  await cluster?.[Symbol.asyncDispose]();
});

/** What is read outside of the sessions in question is held to nothing. */
function open(options: LockstepOptions = {}): LockstepPool {
  return connect({ connectionString: cluster.url, consistency: 'eventual', ...options });
}

let nextId = 1_000_000;
const newId = (): number => (nextId += 1);
const insert = 'INSERT INTO item VALUES ($1, $2)';

describe('a session', () => {
  it('always reads its own writes, mostly from followers', async () => {
    const tries = Number(process.env['READ_YOUR_WRITES_TRIES'] ?? 1_000);
    const own = open();
    let next = 0;
    let missing = 0;
    const work = async (): Promise<void> => {
      while (next < tries) {
        const id = (next += 1);
        const session = own.session();
        await session.query({
          text: insert,
          values: [id, 'x'],
          durability: id % 3 === 0 ? 'async' : 'sync',
        } as pg.QueryConfig);
        const { rows } =
          id % 2 === 0
            ? await session.query('SELECT v FROM item WHERE id = $1', [id])
            : await session.query(`SELECT v FROM item WHERE id = ${id}`);
        missing += rows.length === 1 ? 0 : 1;
      }
    };
    await Promise.all(Array.from({ length: 6 }, work));
    const { readsByNode } = own.stats();
    await own.end();
    expect(missing).toBe(0);
    const fromFollowers = followers.reduce((sum, name) => sum + (readsByNode[name] ?? 0), 0);
    expect(fromFollowers).toBeGreaterThan(tries / 2);
  });

  it('goes to the leader when followers stand still, with and without parameters and by name', async () => {
    const own = open();
    await own.topology();
    const session = own.session();
    await using replay = await pauseReplay(cluster, pool);
    const id = newId();
    const named = { name: 'by-id', text: 'SELECT v FROM item WHERE id = $1', values: [id] };
    try {
      await session.query(insert, [id, 'x']);
      // The follower really lacks the row: else the rest would prove nothing.
      expect((await own.follower.query('SELECT v FROM item WHERE id = $1', [id])).rows).toEqual([]);
      expect((await session.query('SELECT v FROM item WHERE id = $1', [id])).rows).toEqual([{ v: 'x' }]);
      expect((await session.query(`SELECT v FROM item WHERE id = ${id}`)).rows).toEqual([{ v: 'x' }]);
      expect((await session.query(named)).rows).toEqual([{ v: 'x' }]);
      expect(own.stats().gateMisses).toBe(3);
    } finally {
      await replay.resume();
    }
    // On the very connections where the gate failed before the statement's Parse, it is parsed again.
    await until('a named read on a follower', async () => {
      const before = own.stats();
      expect((await session.query(named)).rows).toEqual([{ v: 'x' }]);
      const { gateMisses, readsByNode } = own.stats();
      return (
        gateMisses === before.gateMisses &&
        followers.some((name) => (readsByNode[name] ?? 0) > (before.readsByNode[name] ?? 0))
      );
    });
    await own.end();
  });

  it('waits in the gate for a follower that is about to catch up', async () => {
    const own = open({ gateWaitMs: 15_000 });
    await own.topology();
    const session = own.session();
    await using replay = await pauseReplay(cluster, pool);
    const id = newId();
    await session.query(insert, [id, 'x']);
    const reading = session.query('SELECT v FROM item WHERE id = $1', [id]);
    await until('the gate waits', async () => (await waitingGates()) > 0);
    await replay.resume();
    expect((await reading).rows).toEqual([{ v: 'x' }]);
    expect(own.stats()).toMatchObject({ gateMisses: 0, gatePasses: 1 });
    await own.end();
  });

  it('does not trust a gate under REPEATABLE READ, whose snapshot is older than the wait', async () => {
    const own = open({ gateWaitMs: 15_000, options: '-c default_transaction_isolation=repeatable\\ read' });
    await own.topology();
    const session = own.session();
    await using replay = await pauseReplay(cluster, pool);
    const id = newId();
    await session.query(insert, [id, 'x']);
    const reading = session.query('SELECT v FROM item WHERE id = $1', [id]);
    await until('the gate waits', async () => (await waitingGates()) > 0);
    await replay.resume();
    expect((await reading).rows).toEqual([{ v: 'x' }]);
    expect(own.stats().gateMisses).toBe(1);
    await own.end();
  });

  it('never goes back in time, whichever nodes answer', async () => {
    const own = open();
    const writer = open();
    await own.query(`INSERT INTO item VALUES (0, '0')`);
    let isDone = false;
    const writing = (async (): Promise<void> => {
      for (let n = 1; !isDone; n += 1) await writer.query(`UPDATE item SET v = ${n} WHERE id = 0`);
    })();
    const session = own.session();
    await session.query('SELECT 1 FROM item /* lockstep: leader */');
    let last = -1;
    try {
      for (let n = 0; n < 400; n += 1) {
        const hint = n % 7 === 0 ? '/* lockstep: leader */' : '';
        const { rows } = await session.query<{ v: string }>(`SELECT v FROM item WHERE id = 0 ${hint}`);
        const seen = Number(rows[0]?.v);
        expect(seen).toBeGreaterThanOrEqual(last);
        last = seen;
      }
    } finally {
      isDone = true;
      await writing;
      await Promise.all([own.end(), writer.end()]);
    }
    expect(last).toBeGreaterThan(0);
  });

  it('tells a log of its own what it and its transactions sent, and nobody else', async () => {
    const entries: StatementLogEntry[] = [];
    const session = pool.session({ log: (_, entry) => entries.push(entry as StatementLogEntry) });
    await pool.query('SELECT 1 AS elsewhere');
    await session.query('SELECT 1 AS one');
    await session.transaction((tx) => tx.query('INSERT INTO item VALUES (-900, $1)', ['logged']));
    const texts = entries.map(({ statement }) => statement);
    expect(texts.filter((text) => text.includes('elsewhere'))).toEqual([]);
    expect(texts[0]).toBe('select ? as one');
    expect(texts.some((text) => text.startsWith('insert into item'))).toBe(true);
    expect(entries.at(-1)).toMatchObject({
      statement: expect.stringContaining('COMMIT'),
      role: 'leader',
      error: null,
    });
  });

  it('goes on in another process by its token', async () => {
    const session = pool.session();
    expect(session.token).toBeNull();
    const id = newId();
    await session.transaction(async (transaction) => {
      await transaction.query(insert, [id, 'x']);
    });
    expect(session.token).toMatch(/^\d+-[0-9A-F]+\/[0-9A-F]+$/);
    const other = open();
    const continued = other.session({ token: session.token ?? undefined });
    expect((await continued.query('SELECT v FROM item WHERE id = $1', [id])).rows).toEqual([{ v: 'x' }]);
    expect(() => other.session({ token: 'x' })).toThrow(/not a consistency token/);
    await other.end();
  });
});

/** How many gates wait on the followers right now. */
async function waitingGates(): Promise<number> {
  let waiting = 0;
  for (const { name, dsn } of cluster.nodes) {
    if (!followers.includes(name)) continue;
    const client = new pg.Client(dsn);
    await client.connect();
    const answer = await client.query(
      `SELECT FROM pg_stat_activity WHERE query LIKE 'WITH RECURSIVE wait%' AND state = 'active'`,
    );
    waiting += answer.rows.length;
    await client.end();
  }
  return waiting;
}

describe('durability', () => {
  it('tells DURABILITY_TIMEOUT, applied, when followers do not confirm in time', async () => {
    const own = open({ durabilityTimeoutMs: 200 });
    await using replay = await pauseReplay(cluster, pool);
    const ids = [newId(), newId(), newId()];
    try {
      const outcome = { code: 'DURABILITY_TIMEOUT', outcome: 'applied' };
      const inTransaction = own.transaction((transaction) => transaction.query(insert, [ids[0], 'x']), {
        durability: 'visible',
      });
      await expect(inTransaction).rejects.toMatchObject(outcome);
      await expect(
        own.query({ text: insert, values: [ids[1], 'x'], durability: 'visible' }),
      ).rejects.toMatchObject(outcome);
      // A level that waits for less is not held up.
      await own.query({ text: insert, values: [ids[2], 'x'], durability: 'sync' });
    } finally {
      await replay.resume();
    }
    // Others see a commit only when its wait ends, which is a moment after the followers go on.
    await until('every commit shows', async () => {
      const { rows } = await own.leader.query('SELECT id FROM item WHERE id = ANY ($1)', [ids]);
      return rows.length === ids.length;
    });
    await own.end();
  });

  it('does not take a cancelled wait for a success', async () => {
    const own = open({ durabilityTimeoutMs: 0 });
    await using replay = await pauseReplay(cluster, pool);
    const id = newId();
    try {
      const writing = own.query({ text: insert, values: [id, 'x'], durability: 'visible' });
      const refused = expect(writing).rejects.toMatchObject({
        code: 'DURABILITY_TIMEOUT',
        outcome: 'applied',
      });
      await until('the wait is cancelled', async () => {
        const { rows } = await own.leader.query(
          `SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND query LIKE 'INSERT%'`,
        );
        return rows.length > 0;
      });
      await refused;
      expect((await own.leader.query('SELECT v FROM item WHERE id = $1', [id])).rows).toHaveLength(1);
    } finally {
      await replay.resume();
      await own.end();
    }
  });

  it('applies to the one statement or transaction only', async () => {
    const own = open({ max: 1 });
    const setting = `INSERT INTO item SELECT $1, current_setting('synchronous_commit') RETURNING v`;
    const level = async (durability?: 'async' | 'visible'): Promise<string> => {
      const config = {
        text: setting,
        values: [newId()],
        ...(durability === undefined ? {} : { durability }),
      };
      return (await own.query(config)).rows[0].v;
    };
    const standard = await level();
    expect(await level('async')).toBe('local');
    expect(await level('visible')).toBe('remote_apply');
    expect(await level()).toBe(standard);
    const inTransaction = await own.transaction((transaction) => transaction.query(setting, [newId()]), {
      durability: 'off',
    });
    expect(inTransaction.rows[0].v).toBe('off');
    expect(await level()).toBe(standard);
    await expect(own.query({ text: 'SELECT 1; SELECT 2', durability: 'sync' })).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
    });
    await own.end();
  });
});
