import { afterEach, describe, expect, it } from 'vitest';
import { connect, LockstepError } from '../../src/index.ts';
import type { LockstepPool } from '../../src/index.ts';
import { startTestCluster } from '../../src/testing/cluster.ts';
import type { TestCluster } from '../../src/testing/cluster.ts';
import { until } from './fixture.ts';

let cluster: TestCluster | undefined;
let pool: LockstepPool | undefined;

afterEach(async () => {
  await pool?.end();
  await cluster?.[Symbol.asyncDispose]();
  pool = cluster = undefined;
});

async function setUp(): Promise<{ cluster: TestCluster; pool: LockstepPool }> {
  cluster = await startTestCluster();
  pool = connect({ connectionString: cluster.url, failoverTimeoutMs: 30_000 });
  await pool.query('CREATE TABLE item (id int PRIMARY KEY, by text)');
  await pool.topology();
  return { cluster, pool };
}

interface Load {
  readonly acknowledged: number[];
  readonly unknown: number[];
  readonly otherErrors: unknown[];
  readonly staleReads: number[];
  stop(): Promise<void>;
}

/** Four writers, each reading back what it wrote, by single statements, transactions and plain clients. */
function startLoad(on: LockstepPool): Load {
  const load = {
    acknowledged: [] as number[],
    unknown: [] as number[],
    otherErrors: [] as unknown[],
    staleReads: [] as number[],
  };
  let isStopped = false;
  let nextId = 0;
  const insert = 'INSERT INTO item VALUES ($1, $2)';
  const ways: ((id: number) => Promise<void>)[] = [
    async (id) => {
      const session = on.session();
      await session.query({ text: insert, values: [id, 'session'], durability: 'sync' } as never);
      const { rows } = await session.query('SELECT id FROM item WHERE id = $1', [id]);
      if (rows.length === 0) load.staleReads.push(id);
    },
    async (id) => {
      const session = on.session();
      await session.transaction((transaction) => transaction.query(insert, [id, 'transaction']), {
        durability: 'sync',
      });
      const { rows } = await session.query(`SELECT id FROM item WHERE id = ${id}`);
      if (rows.length === 0) load.staleReads.push(id);
    },
    async (id) => {
      await on.query({ text: insert, values: [id, 'pool'], durability: 'sync' });
    },
  ];
  const work = async (way: (id: number) => Promise<void>): Promise<void> => {
    while (!isStopped) {
      const id = (nextId += 1);
      try {
        await way(id);
        load.acknowledged.push(id);
      } catch (error) {
        if (error instanceof LockstepError && error.code === 'COMMIT_UNKNOWN') load.unknown.push(id);
        else load.otherErrors.push(error);
      }
    }
  };
  const workers = ways.map(work);
  return {
    ...load,
    stop: async (): Promise<void> => {
      isStopped = true;
      await Promise.all(workers);
    },
  };
}

async function missingOf(on: LockstepPool, ids: readonly number[]): Promise<number[]> {
  const { rows } = await on.leader.query<{ id: number }>('SELECT id FROM item');
  const present = new Set(rows.map(({ id }) => id));
  return ids.filter((id) => !present.has(id));
}

describe('a failover', () => {
  it('of a killed leader costs no acknowledged write and shows no error but unknown outcomes', async () => {
    const { cluster: nodes, pool: on } = await setUp();
    const former = await nodes.leader();
    const load = startLoad(on);
    await until('some writes', () => load.acknowledged.length > 50);
    await nodes.kill(former);
    const before = load.acknowledged.length;
    await until('writes on the new leader', () => load.acknowledged.length > before + 100);
    await load.stop();
    expect(load.otherErrors).toEqual([]);
    expect(load.staleReads).toEqual([]);
    expect(load.unknown.length).toBeLessThanOrEqual(3);
    expect(await missingOf(on, load.acknowledged)).toEqual([]);
    expect((await on.topology()).leader).not.toBe(former);
  });

  it('of a suspended leader takes no write on the old one after it wakes', async () => {
    const { cluster: nodes, pool: on } = await setUp();
    const former = await nodes.leader();
    const load = startLoad(on);
    await until('some writes', () => load.acknowledged.length > 50);
    await nodes.pause(former);
    const before = load.acknowledged.length;
    await until('writes on the new leader', () => load.acknowledged.length > before + 50);
    await nodes.resume(former);
    const awake = load.acknowledged.length;
    await until('writes with the old leader awake', () => load.acknowledged.length > awake + 100);
    await load.stop();
    expect(load.otherErrors).toEqual([]);
    expect(load.staleReads).toEqual([]);
    expect(await missingOf(on, load.acknowledged)).toEqual([]);
    expect((await on.topology()).leader).not.toBe(former);
  });

  it('runs transaction() again and tells a plain client that its transaction is gone', async () => {
    const { cluster: nodes, pool: on } = await setUp();
    const former = await nodes.leader();
    const client = await on.connect();
    try {
      await client.query('BEGIN');
      await client.query(`INSERT INTO item VALUES (1, 'plain')`);
      let runs = 0;
      await on.transaction(
        async (transaction) => {
          runs += 1;
          await transaction.query(`INSERT INTO item VALUES (2, 'transaction')`);
          if (runs === 1) await nodes.kill(former);
          await transaction.query(`INSERT INTO item VALUES (3, 'transaction')`);
        },
        { durability: 'sync' },
      );
      expect(runs).toBe(2);
      await expect(client.query('COMMIT')).rejects.toMatchObject({
        code: 'NOT_LEADER',
        outcome: 'not-applied',
      });
      await client.query(`INSERT INTO item VALUES (4, 'plain')`);
    } finally {
      client.release();
    }
    const { rows } = await on.leader.query('SELECT id FROM item ORDER BY id');
    expect(rows.map(({ id }) => id)).toEqual([2, 3, 4]);
  });

  it('of a follower costs no read', async () => {
    const { cluster: nodes, pool: on } = await setUp();
    const leader = await nodes.leader();
    const follower = nodes.nodes.find(({ name }) => name !== leader)?.name ?? '';
    let reads = 0;
    let isStopped = false;
    const workers = Array.from({ length: 4 }, async () => {
      for (; !isStopped; reads += 1) await on.query('SELECT count(*) FROM item');
    });
    await until('some reads', () => reads > 100);
    await nodes.kill(follower);
    const before = reads;
    await until('reads without it', () => reads > before + 200);
    isStopped = true;
    await Promise.all(workers);
  });
});

describe('a switchover', () => {
  it('is followed without an error but unknown outcomes', async () => {
    const { cluster: nodes, pool: on } = await setUp();
    const load = startLoad(on);
    await until('some writes', () => load.acknowledged.length > 50);
    const { to } = await nodes.switchover();
    const before = load.acknowledged.length;
    await until('writes on the new leader', () => load.acknowledged.length > before + 100);
    await load.stop();
    expect(load.otherErrors).toEqual([]);
    expect(load.staleReads).toEqual([]);
    expect(await missingOf(on, load.acknowledged)).toEqual([]);
    expect((await on.topology()).leader).toBe(to);
  });
});
