import { setImmediate as turn } from 'node:timers/promises';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { connect, LockstepClient } from '../../src/index.ts';
import type { LockstepOptions, LockstepPool } from '../../src/index.ts';
import { startTestCluster } from '../../src/testing/cluster.ts';
import type { TestCluster } from '../../src/testing/cluster.ts';
import { until } from './fixture.ts';
import { pauseReplay } from './replay-pause.ts';

let cluster: TestCluster;
let admin: LockstepPool;
let followers: string[];

beforeAll(async () => {
  cluster = await startTestCluster();
  admin = connect(cluster.url);
  await admin.query('CREATE TABLE item (id int PRIMARY KEY, v text)');
  await admin.query('CREATE TABLE brake ()');
  const leader = await cluster.leader();
  followers = cluster.nodes.map(({ name }) => name).filter((name) => name !== leader);
});

afterAll(async () => {
  await admin?.end();
  await cluster?.[Symbol.asyncDispose]();
});

const open = (options: LockstepOptions = {}): LockstepPool & AsyncDisposable =>
  Object.assign(connect({ connectionString: cluster.url, failoverTimeoutMs: 30_000, ...options }), {
    async [Symbol.asyncDispose](this: LockstepPool) {
      await this.end();
    },
  });

let nextId = 0;
const newId = (): number => (nextId += 1);
const insert = 'INSERT INTO item VALUES ($1, $2)';
const find = 'SELECT v FROM item WHERE id = $1';
const has = async (pool: LockstepPool, id: number): Promise<boolean> =>
  (await pool.query(find, [id])).rows.length === 1;

async function withClient(
  pool: LockstepPool,
  use: (client: pg.PoolClient) => Promise<unknown>,
): Promise<void> {
  const client = await pool.connect();
  try {
    await use(client);
  } finally {
    client.release();
  }
}

/** Every way in which a pool's users write. */
const WAYS: Readonly<Record<string, (pool: LockstepPool, id: number) => Promise<unknown>>> = {
  'pool.query': (pool, id) => pool.query(insert, [id, 'x']),
  'pool.leader.query': (pool, id) => pool.leader.query(insert, [id, 'x']),
  'a write that looks like a read': (pool, id) => pool.query('SELECT add_item($1)', [id]),
  'a commit that waits for nothing': (pool, id) =>
    pool.query({ text: insert, values: [id, 'x'], durability: 'off' }),
  'several statements in one text': (pool, id) =>
    pool.query(`INSERT INTO item VALUES (${id}, 'x'); SELECT count(*) FROM item`),
  'transaction(fn)': (pool, id) => pool.transaction((transaction) => transaction.query(insert, [id, 'x'])),
  'transaction(list)': (pool, id) => pool.transaction([{ text: insert, values: [id, 'x'] }]),
  'an idempotencyKey': (pool, id) =>
    pool.query({ text: insert, values: [id, 'x'], idempotencyKey: `own-${id}` }),
  'BEGIN to COMMIT of a client': (pool, id) =>
    withClient(pool, async (client) => {
      await client.query('BEGIN');
      await client.query(insert, [id, 'x']);
      await client.query('COMMIT');
    }),
  'a single statement of a client': (pool, id) =>
    withClient(pool, (client) => client.query(insert, [id, 'x'])),
  'a client that something was set on': (pool, id) =>
    withClient(pool, async (client) => {
      await client.query(`SET application_name = 'set'`);
      await client.query(insert, [id, 'x']);
    }),
  'a query object': (pool, id) => pool.query(new pg.Query(insert, [id, 'x']) as unknown as string),
  'a query object of a client': (pool, id) =>
    withClient(
      pool,
      (client) =>
        new Promise<void>((resolve, reject) => {
          const query = new pg.Query(insert, [id, 'x']);
          query.on('end', () => resolve());
          query.on('error', reject);
          client.query(query);
        }),
    ),
  'a LockstepClient of the pool': async (pool, id) => {
    const client = new LockstepClient(pool);
    await client.connect();
    await client.query(insert, [id, 'x']);
    await client.end();
  },
  'a session': (pool, id) => pool.session().query(insert, [id, 'x']),
  'an ambient session': (pool, id) => pool.withSession({}, () => pool.query(insert, [id, 'x'])),
};

describe('what a pool wrote', () => {
  let own: LockstepPool & AsyncDisposable;
  let paused: AsyncDisposable;

  beforeAll(async () => {
    await admin.query(
      `CREATE FUNCTION add_item(int) RETURNS void LANGUAGE sql AS 'INSERT INTO item VALUES ($1)'`,
    );
    // Makes the table of the keys, for which followers must not stand still.
    await admin.query({ text: 'SELECT 1', idempotencyKey: 'first' });
    own = open();
    await own.topology();
    paused = await pauseReplay(cluster, admin);
  });

  afterAll(async () => {
    await paused?.[Symbol.asyncDispose]();
    await own?.end();
  });

  it.each(Object.keys(WAYS))('is shown to all of it: %s', async (way) => {
    const id = newId();
    await WAYS[way]?.(own, id);
    expect(await has(own, id)).toBe(true);
    await withClient(own, async (client) => {
      expect((await client.query(find, [id])).rows).toHaveLength(1);
    });
    expect((await own.follower.query(find, [id])).rows).toHaveLength(1);
    // The followers really lack it: a session that has seen nothing may be shown their state.
    expect((await own.session().query(find, [id])).rows).toEqual([]);
  });

  it.each([
    ['alone', (id: number) => own.query(insert, [id, 'x'])],
    ['in a transaction', (id: number) => own.transaction((tx) => tx.query(insert, [id, 'x']))],
    ['in a batch', (id: number) => own.transaction([{ text: insert, values: [id, 'x'] }])],
    [
      'in a transaction of a client',
      (id: number) =>
        withClient(own, async (client) => {
          await client.query('BEGIN');
          try {
            await client.query(insert, [id, 'x']);
          } finally {
            await client.query('ROLLBACK');
          }
        }),
    ],
  ])('and so is what its refused write ran into: %s', async (_, write) => {
    const id = newId();
    await admin.query(insert, [id, 'x']);
    await expect(write(id)).rejects.toMatchObject({ code: '23505' });
    expect(await has(own, id)).toBe(true);
  });

  it('is not waited for where reads may be old by name', async () => {
    await using eventual = open({ consistency: 'eventual' });
    await eventual.topology();
    const id = newId();
    await eventual.query(insert, [id, 'x']);
    expect(await has(eventual, id)).toBe(false);
  });

  it('is not waited for by another pool', async () => {
    await using other = open();
    await other.topology();
    const id = newId();
    await own.query(insert, [id, 'x']);
    expect(await has(other, id)).toBe(false);
  });
});

describe('reads of a pool', () => {
  it('are spread over the followers, and wait for nobody while nothing is written', async () => {
    await using own = open();
    await own.topology();
    await Promise.all(Array.from({ length: 100 }, () => own.query('SELECT 1 FROM item')));
    const { readsByNode, gatePasses, watermarkHits } = own.stats();
    expect(gatePasses + watermarkHits).toBe(0);
    expect(Object.keys(readsByNode).toSorted()).toEqual(followers.toSorted());
  });

  it('come from followers while many callers write', async () => {
    await using own = open({ gateWaitMs: 5_000 });
    await own.topology();
    const stale: number[] = [];
    const write = async (): Promise<void> => {
      for (let count = 0; count < 50; count += 1) {
        const id = newId();
        await own.query(insert, [id, 'x']);
        if (!(await has(own, id))) stale.push(id);
        await turn();
      }
    };
    await Promise.all(Array.from({ length: 8 }, write));
    expect(stale).toEqual([]);
    const { readsByNode } = own.stats();
    expect(Object.keys(readsByNode).toSorted()).toEqual(followers.toSorted());
  });

  it('go on after a failover that took a write back, and tell nobody else of it', async () => {
    await using own = open();
    await own.query({ text: insert, values: [newId(), 'x'], durability: 'async' });
    await own.transaction(async (transaction) => {
      await transaction.query({ text: 'SELECT 1' });
    });
    await cluster.kill(await cluster.leader());
    const id = newId();
    await own.query(insert, [id, 'x']);
    expect(await has(own, id)).toBe(true);
    // Once a follower is proven to be on the new history, it answers again.
    await until('a read on a follower', async () => {
      const { leader } = await own.topology();
      const before = own.stats().readsByNode;
      expect(await has(own, id)).toBe(true);
      const after = own.stats().readsByNode;
      return Object.keys(after).some((name) => name !== leader && (after[name] ?? 0) > (before[name] ?? 0));
    });
  });
});
