import type { PoolClient } from 'pg';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { connect } from '../../src/index.ts';
import type { LockstepPool } from '../../src/index.ts';
import { startTestCluster } from '../../src/testing/cluster.ts';
import type { TestCluster } from '../../src/testing/cluster.ts';
import { until } from './fixture.ts';

let cluster: TestCluster;
let pool: LockstepPool;

beforeAll(async () => {
  cluster = await startTestCluster();
  await using setup = { pool: connect(cluster.url), [Symbol.asyncDispose]: () => setup.pool.end() };
  await setup.pool.query('CREATE TABLE part (id int PRIMARY KEY, name text)');
  await setup.pool.query({ text: `INSERT INTO part VALUES (1, 'bolt')`, durability: 'visible' });
});

afterAll(() => cluster?.[Symbol.asyncDispose]());

const clients = new Set<PoolClient>();

beforeEach(async () => {
  pool = connect({ connectionString: cluster.url, max: 4 });
  await pool.topology();
});

afterEach(async () => {
  for (const client of clients) client.release();
  clients.clear();
  await pool.end();
});

async function checkout(): Promise<PoolClient> {
  const client = await pool.connect();
  clients.add(client);
  return client;
}

/** Adds or drops a column, and waits until every follower knows. */
async function changeTable(column: string): Promise<void> {
  await pool.transaction((tx) => tx.query(`ALTER TABLE part ${column}`), { durability: 'visible' });
  const { length } = (await pool.leader.query('TABLE part')).fields;
  await until('the change on every server', async () => {
    const answers = await Promise.all(
      Array.from({ length: 8 }, async () => (await pool.query('SELECT * FROM part')).fields.length),
    );
    return answers.every((fields) => fields === length);
  });
}

const byId = { name: 'part by id', text: 'SELECT * FROM part WHERE id = $1', values: [1] };
const onPort = { name: 'where', text: 'SELECT inet_server_port() AS port, $1::int AS a', values: [7] };

describe('a statement with a name', () => {
  it('works on whichever server it goes to', async () => {
    const answers = await Promise.all(Array.from({ length: 40 }, () => pool.query(onPort)));
    expect(new Set(answers.map(({ rows }) => rows[0].a))).toEqual(new Set([7]));
    expect(new Set(answers.map(({ rows }) => rows[0].port)).size).toBeGreaterThan(1);
    const session = pool.session();
    await session.query({ name: 'rename', text: 'UPDATE part SET name = $1', values: ['nut'] });
    expect((await session.query(byId)).rows).toMatchObject([{ name: 'nut' }]);
    const inTransaction = await session.transaction([byId, byId], { durability: 'async' });
    expect(inTransaction.map(({ rowCount }) => rowCount)).toEqual([1, 1]);
  });

  it('is prepared anew when its table has changed, without losing the followers', async () => {
    // Every connection of every server has it.
    for (let round = 0; round < 5; round += 1)
      await Promise.all(Array.from({ length: 12 }, () => pool.query(byId)));
    await changeTable('ADD COLUMN added text');
    const readsBefore = readsOnFollowers();
    for (let read = 0; read < 20; read += 1) {
      const { fields } = await pool.query(byId);
      expect(fields.map(({ name }) => name)).toEqual(['id', 'name', 'added']);
    }
    expect(await readsOnFollowers()).toBe((await readsBefore) + 20);
    expect(pool.stats().retried).toBeGreaterThan(0);
    await changeTable('DROP COLUMN added');
    expect((await pool.leader.query(byId)).fields).toHaveLength(2);
  });

  it('runs again in a transaction() whose first attempt met the changed table, and in a batch', async () => {
    const run = (): Promise<number> =>
      pool.transaction(async (tx) => (await tx.query({ ...byId, name: 'in tx' })).fields.length);
    const runBatch = async (): Promise<number> =>
      (await pool.transaction([{ ...byId, name: 'in batch' }]))[0]?.fields.length ?? 0;
    expect([await run(), await runBatch()]).toEqual([2, 2]);
    await changeTable('ADD COLUMN added text');
    expect([await run(), await runBatch()]).toEqual([3, 3]);
    await changeTable('DROP COLUMN added');
  });

  it('fails a plain client’s transaction once, and works in the next', async () => {
    const client = await checkout();
    await client.query('BEGIN');
    await client.query(byId);
    await client.query('COMMIT');
    await changeTable('ADD COLUMN added text');
    await client.query('BEGIN');
    await expect(client.query(byId)).rejects.toMatchObject({ code: '0A000' });
    await client.query('ROLLBACK');
    await client.query('BEGIN');
    expect((await client.query(byId)).fields).toHaveLength(3);
    await client.query('COMMIT');
    await changeTable('DROP COLUMN added');
  });

  it.each([
    'DEALLOCATE ALL',
    'DISCARD ALL',
    'DEALLOCATE "by name"',
    `DO 'BEGIN EXECUTE ''DEALLOCATE ALL''; END'`,
  ])('is prepared anew behind %s', async (sql) => {
    const client = await checkout();
    await client.query('SET lock_timeout = 0');
    const byName = { ...byId, name: 'by name' };
    await pool.withSession({}, async () => {
      for (let round = 0; round < 2; round += 1) {
        for (const statement of [byName, byName, { ...byId, name: 'durable', durability: 'async' }])
          expect((await client.query(statement)).rowCount).toBe(1);
        await client.query(sql);
      }
    });
  });

  it.each(['DEALLOCATE ALL', 'DISCARD ALL'])('does not fail a transaction behind %s', async (sql) => {
    const client = await checkout();
    await client.query('SET lock_timeout = 0');
    await client.query(byId);
    await client.query(sql);
    await client.query('BEGIN');
    expect((await client.query(byId)).rowCount).toBe(1);
    await client.query('COMMIT');
  });
});

async function readsOnFollowers(): Promise<number> {
  const { leader } = await pool.topology();
  const reads = Object.entries(pool.stats().readsByNode).filter(([node]) => node !== leader);
  return reads.reduce((sum, [, count]) => sum + count, 0);
}

it('a statement with a name works on after a failover', async () => {
  const names = ['first', 'second'];
  const ask = async (): Promise<void> => {
    for (const name of names) {
      expect((await pool.query({ ...byId, name })).rowCount).toBe(1);
      expect((await pool.leader.query({ ...byId, name })).rowCount).toBe(1);
    }
  };
  await ask();
  await cluster.kill(await cluster.leader());
  for (let round = 0; round < 10; round += 1) await ask();
});
