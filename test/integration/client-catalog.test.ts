import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { connect } from '../../src/index.ts';
import type { LockstepPool } from '../../src/index.ts';
import { startTestCluster } from '../../src/testing/cluster.ts';
import type { TestCluster } from '../../src/testing/cluster.ts';
import { until } from './fixture.ts';

const SETUP = `
  CREATE SCHEMA app;
  CREATE TABLE item (id serial PRIMARY KEY, v text);
  INSERT INTO item (v) VALUES ('a');
  CREATE UNLOGGED TABLE scratch (a int);
  CREATE FUNCTION stable_one(int) RETURNS int LANGUAGE sql STABLE AS 'SELECT $1';
  CREATE FUNCTION app.overloaded(int) RETURNS int LANGUAGE sql STABLE AS 'SELECT $1';
  CREATE FUNCTION overloaded(text) RETURNS int LANGUAGE sql VOLATILE AS 'SELECT 1';
  CREATE FUNCTION add_item() RETURNS int LANGUAGE sql VOLATILE AS
    'INSERT INTO item (v) VALUES (NULL) RETURNING id';
  CREATE FUNCTION item_lock(item) RETURNS boolean LANGUAGE sql VOLATILE AS 'SELECT pg_try_advisory_lock(7)';
  CREATE FUNCTION app.upper(text) RETURNS text LANGUAGE sql VOLATILE AS 'SELECT $1';
  CREATE FUNCTION sum_step(int, int) RETURNS int LANGUAGE sql VOLATILE AS 'SELECT $1 + $2';
  CREATE AGGREGATE risky_sum(int) (SFUNC = sum_step, STYPE = int);
  CREATE AGGREGATE plain_sum(int) (SFUNC = int4pl, STYPE = int);
  CREATE OPERATOR %% (LEFTARG = int, RIGHTARG = int, FUNCTION = sum_step);
  CREATE VIEW plain AS SELECT count(*) AS n, max(lower(v)) AS v, now() AS at FROM item;
  CREATE VIEW stable_view AS SELECT stable_one(id) AS a FROM item;
  CREATE VIEW calling AS SELECT add_item() AS id;
  CREATE VIEW around AS SELECT id FROM (SELECT * FROM calling) c;
  CREATE VIEW behind_operator AS SELECT 1 %% 2 AS a;
  CREATE VIEW locking AS SELECT pg_try_advisory_lock(8) AS a;
  CREATE VIEW setting AS SELECT set_config('a.b', 'c', false) AS a;
  CREATE VIEW activity AS SELECT pid FROM pg_stat_activity;
  CREATE VIEW where_am_i AS SELECT pg_backend_pid() AS pid;
  CREATE VIEW numbered AS SELECT last_value FROM item_id_seq;`;

let cluster: TestCluster;
let pool: LockstepPool;
let leaderPort: number;

beforeAll(async () => {
  cluster = await startTestCluster();
  const leader = await cluster.leader();
  leaderPort = cluster.nodes.find(({ name }) => name === leader)?.port ?? 0;
  const setup = connect(cluster.url);
  await setup.query(SETUP);
  await setup.query({ text: `INSERT INTO item (v) VALUES ('seen')`, durability: 'visible' });
  await setup.end();
  pool = connect(cluster.url);
  await pool.topology();
  await until('the catalog is known', async () => isOnFollower('SELECT stable_one(1)'));
});

afterAll(async () => {
  await pool?.end();
  await cluster?.[Symbol.asyncDispose]();
});

/** Runs a query and tells by the counts where it was answered, without a refusal on the way. */
async function isOnFollower(sql: string): Promise<boolean> {
  const before = pool.stats();
  await pool.query(sql);
  const { readsByNode, redirected } = pool.stats();
  const onFollowers = (reads: Readonly<Record<string, number>>): number =>
    Object.entries(reads)
      .filter(([name]) => name !== leaderName())
      .reduce((sum, [, count]) => sum + count, 0);
  expect(redirected, `a follower refused ${sql}`).toBe(before.redirected);
  return onFollowers(readsByNode) > onFollowers(before.readsByNode);
}

function leaderName(): string {
  return cluster.nodes.find(({ port }) => port === leaderPort)?.name ?? '';
}

describe('statements go by what the catalog says', () => {
  it.each([
    'SELECT stable_one(id) FROM item',
    'SELECT plain_sum(id) FROM item',
    'SELECT * FROM plain',
    'SELECT * FROM stable_view',
    'SELECT lower(v) FROM item',
    'SELECT table_name FROM information_schema.tables',
  ])('to a follower: %s', async (sql) => {
    expect(await isOnFollower(sql)).toBe(true);
  });

  it.each([
    'SELECT app.overloaded(1)',
    'SELECT add_item()',
    'SELECT risky_sum(id) FROM item',
    "SELECT upper('a')",
    'SELECT i.item_lock FROM item i',
    'SELECT * FROM calling',
    'SELECT * FROM around',
    'SELECT * FROM behind_operator',
    'SELECT * FROM locking',
    'SELECT * FROM setting',
    'SELECT * FROM activity',
    'SELECT * FROM where_am_i',
    'SELECT * FROM numbered',
    'SELECT last_value FROM item_id_seq',
  ])('to the leader: %s', async (sql) => {
    expect(await isOnFollower(sql)).toBe(false);
  });

  it('keeps no connection in the pool that a view has locked or set something in', async () => {
    await pool.query('SELECT * FROM setting');
    const { rows } = await pool.leader.query(`SELECT current_setting('a.b', true) AS b`);
    expect(rows[0]?.b || null).toBeNull();
  });

  it('learns of a change that this pool makes', async () => {
    const sql = 'SELECT changing(1)';
    await pool.query(`CREATE FUNCTION changing(int) RETURNS int LANGUAGE sql STABLE AS 'SELECT $1'`);
    await until('it is known to be harmless', async () => isOnFollower(sql));
    await pool.query('ALTER FUNCTION changing VOLATILE');
    expect(await isOnFollower(sql)).toBe(false);
    await pool.query('DROP FUNCTION changing');
  });

  it('costs one refusal for an unlogged table, and remembers it', async () => {
    const before = pool.stats().redirected;
    await pool.query('SELECT * FROM scratch');
    await pool.query('SELECT * FROM scratch');
    expect(pool.stats().redirected).toBe(before + 1);
  });

  it('asks over a connection of its own that ends with the question', async () => {
    const client = new pg.Client(cluster.nodes.find(({ port }) => port === leaderPort)?.dsn);
    await client.connect();
    try {
      await until('it has ended', async () => {
        const { rows } = await client.query(
          `SELECT FROM pg_stat_activity WHERE application_name = 'lockstep-catalog'`,
        );
        return rows.length === 0;
      });
    } finally {
      await client.end();
    }
  });
});
