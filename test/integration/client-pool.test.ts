import { EventEmitter, once } from 'node:events';
import pg from 'pg';
import type { PoolClient } from 'pg';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { connect, LockstepClient, LockstepPool } from '../../src/index.ts';
import type { LockstepOptions } from '../../src/index.ts';
import { startTestCluster } from '../../src/testing/cluster.ts';
import type { TestCluster } from '../../src/testing/cluster.ts';

let cluster: TestCluster;
let pool: LockstepPool;
let leaderPort: number;

beforeAll(async () => {
  cluster = await startTestCluster();
  const leader = await cluster.leader();
  leaderPort = cluster.nodes.find(({ name }) => name === leader)?.port ?? 0;
  const setup = open();
  await setup.query('CREATE TABLE item (id int PRIMARY KEY, v text)');
  await setup.query(`CREATE FUNCTION add_item() RETURNS int LANGUAGE sql VOLATILE AS
    'INSERT INTO item SELECT coalesce(max(id), 0) + 1, NULL FROM item RETURNING id'`);
  await setup.query('CREATE VIEW writing_view AS SELECT add_item() AS id');
  await setup.query({ text: `INSERT INTO item VALUES (0, 'seen')`, durability: 'sync' });
  await setup.end();
});

afterAll(() => cluster?.[Symbol.asyncDispose]());

const checkedOut = new Set<PoolClient>();

beforeEach(async () => {
  await reopen();
});

afterEach(async () => {
  for (const client of checkedOut) client.release();
  checkedOut.clear();
  if (!pool.ending) await pool.end();
});

/** Another pool for this test, which has looked at every server. */
async function reopen(options: LockstepOptions = {}): Promise<void> {
  if (pool !== undefined && !pool.ending) await pool.end();
  pool = open(options);
  await pool.topology();
}

/** A client that is released also when the test fails. */
async function checkout(): Promise<PoolClient> {
  const client = await pool.connect();
  checkedOut.add(client);
  return client;
}

async function withClient<T>(work: (client: LockstepClient) => Promise<T>): Promise<T> {
  const client = new LockstepClient(pool);
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}

function giveBack(client: PoolClient): void {
  checkedOut.delete(client);
  client.release();
}

function open(options: LockstepOptions = {}): LockstepPool {
  return connect({ connectionString: cluster.url, ...options });
}

const whereSql = 'SELECT inet_server_port() AS port';

async function portOf(
  client: { query(sql: string): Promise<pg.QueryResult> },
  sql: string = whereSql,
): Promise<number> {
  return (await client.query(sql)).rows[0].port;
}

describe('pool.query', () => {
  it('takes every form that pg takes', async () => {
    expect(pool).toBeInstanceOf(pg.Pool);
    expect(pool).toBeInstanceOf(LockstepPool);
    expect(pool).toBeInstanceOf(EventEmitter);
    const expected = [{ a: 1 }];
    expect((await pool.query('SELECT 1 AS a')).rows).toEqual(expected);
    expect((await pool.query('SELECT $1::int AS a', [1])).rows).toEqual(expected);
    expect((await pool.query({ text: 'SELECT $1::int AS a', values: [1] })).rows).toEqual(expected);
    expect((await pool.query({ name: 'n', text: 'SELECT $1::int AS a' }, [1])).rows).toEqual(expected);
    expect((await pool.query({ text: 'SELECT 1 AS a', rowMode: 'array' })).rows).toEqual([[1]]);
    const types = { getTypeParser: () => (): string => 'parsed' };
    expect((await pool.query({ text: 'SELECT 1 AS a', types } as pg.QueryConfig)).rows).toEqual([
      { a: 'parsed' },
    ]);
    expect(await pool.query('SELECT 1; SELECT 2')).toHaveLength(2);
    expect((await pool.query('')).rows).toEqual([]);
    const viaCallback = await new Promise<pg.QueryResult>((resolve, reject) => {
      pool.query('SELECT $1::int AS a', [1], (error, result) => (error ? reject(error) : resolve(result)));
    });
    expect(viaCallback.rows).toEqual(expected);
    const viaShortCallback = await new Promise<pg.QueryResult>((resolve) => {
      pool.query('SELECT 1 AS a', (_, result) => resolve(result));
    });
    expect(viaShortCallback.rows).toEqual(expected);
    const rows: unknown[] = [];
    const submitted = new pg.Query('SELECT 1 AS a');
    submitted.on('row', (row: unknown) => rows.push(row));
    await pool.query(submitted);
    expect(rows).toEqual(expected);
  });

  it('passes PostgreSQL’s errors unchanged and goes on afterwards', async () => {
    await expect(pool.query('SELECT nonsense')).rejects.toMatchObject({ code: '42703' });
    await expect(pool.query('SELECT 1 / 0')).rejects.toMatchObject({ code: '22012' });
    await expect(pool.query(`INSERT INTO item VALUES (0, 'x')`)).rejects.toMatchObject({ code: '23505' });
    await expect(pool.query('SELECT $1::int', 'x' as never)).rejects.toThrow('Query values must be an array');
    await expect(new Promise((_, reject) => pool.query('SELECT 1 / 0', reject))).rejects.toMatchObject({
      code: '22012',
    });
    expect((await pool.query('SELECT 1 AS a')).rows).toEqual([{ a: 1 }]);
  });

  const failing = 'SELECT nonsense';
  it.each<readonly [string, () => Promise<unknown>]>([
    ['pool.query', () => pool.query(failing)],
    ['pool.leader', () => pool.leader.query(failing)],
    ['a session', () => pool.session().query(failing)],
    ['a client', async () => (await checkout()).query(failing)],
    ['a batch', () => pool.transaction([{ text: failing }])],
    ['a transaction', () => pool.transaction((tx) => tx.query(failing))],
    ['its own client', () => withClient((client) => client.query(failing))],
  ])('leads an error of %s to its caller', async (_name, run) => {
    async function theCaller(): Promise<void> {
      await run();
    }
    const error = (await theCaller().catch((thrown: unknown) => thrown)) as pg.DatabaseError;
    expect(error.code).toBe('42703');
    expect(error.stack).toContain('theCaller');
  });

  it('keeps the place of an error that the function of a transaction throws', async () => {
    function thePlace(): never {
      throw new Error('own');
    }
    const error = await pool.transaction(() => Promise.resolve().then(thePlace)).catch((thrown) => thrown);
    expect(error.stack).toContain('thePlace');
  });

  it('sends reads to followers and the rest to the leader', async () => {
    expect(await portOf(pool)).not.toBe(leaderPort);
    expect(await portOf(pool, `${whereSql} /* lockstep: leader */`)).toBe(leaderPort);
    expect(await portOf(pool.leader)).toBe(leaderPort);
    expect(await portOf(pool.follower)).not.toBe(leaderPort);
    expect(await portOf(pool, `${whereSql}, pg_advisory_xact_lock(1)`)).toBe(leaderPort);
    expect(await portOf(pool, `${whereSql}, set_config('a.b', 'c', false)`)).toBe(leaderPort);
  });

  it('repeats on the leader what a follower refuses, and remembers it', async () => {
    expect((await pool.query('SELECT id FROM writing_view')).rows).toHaveLength(1);
    expect(pool.stats().redirected).toBe(1);
    expect((await pool.query('SELECT id FROM writing_view')).rows).toHaveLength(1);
    expect(pool.stats().redirected).toBe(1);
  });

  it('leaves no setting and no open transaction in a shared connection', async () => {
    await reopen({ max: 1 });
    await pool.query(`SET application_name TO 'left behind'`);
    expect((await pool.query('SHOW application_name')).rows[0].application_name).not.toBe('left behind');
    await expect(pool.query('BEGIN; SELECT 1')).rejects.toMatchObject({ code: 'CONFIG_INVALID' });
    expect((await pool.leader.query('SELECT now() = statement_timestamp() AS fresh')).rows).toEqual([
      { fresh: true },
    ]);
  });

  it('keeps all connections in use together under max, and opens no new ones for moving between servers', async () => {
    await reopen({ max: 3 });
    let inUse = 0;
    let total = 0;
    let opened = 0;
    pool.on('connect', () => opened++);
    const work = Array.from({ length: 60 }, (_, index) =>
      index % 3 === 0 ? pool.leader.query(whereSql) : pool.query(whereSql),
    );
    const watch = setInterval(() => {
      inUse = Math.max(inUse, pool.totalCount - pool.idleCount);
      total = Math.max(total, pool.totalCount);
    }, 1);
    await Promise.all(work);
    clearInterval(watch);
    expect(inUse).toBeLessThanOrEqual(3);
    expect([total, pool.totalCount, pool.idleCount]).toEqual([3, 3, 3]);
    expect(opened).toBeLessThanOrEqual(3 * 3);
    expect(pool.waitingCount).toBe(0);
  });
});

describe('pool.connect', () => {
  it('binds a statement at a time outside transactions, and to the leader inside', async () => {
    const client = await checkout();
    expect(await portOf(client)).not.toBe(leaderPort);
    expect(client.getTransactionStatus()).toBe('I');
    await client.query('BEGIN');
    expect(client.getTransactionStatus()).toBe('T');
    expect(await portOf(client)).toBe(leaderPort);
    await expect(client.query('SELECT 1 / 0')).rejects.toMatchObject({ code: '22012' });
    expect(client.getTransactionStatus()).toBe('E');
    await client.query('ROLLBACK');
    expect(client.getTransactionStatus()).toBe('I');
    expect(await portOf(client)).not.toBe(leaderPort);
    giveBack(client);
    expect(() => client.release()).toThrow(/already been released/);
    expect(client.escapeIdentifier('a"b')).toBe('"a""b"');
  });

  it('runs queries in order, also when they are not awaited one by one', async () => {
    const client = await checkout();
    const results = await Promise.all([
      client.query('BEGIN'),
      client.query(`INSERT INTO item VALUES (-1, 'x')`),
      client.query('SELECT v FROM item WHERE id = -1'),
      client.query('ROLLBACK'),
      client.query('SELECT v FROM item WHERE id = -1 /* lockstep: leader */'),
    ]);
    expect(results.map(({ rows }) => rows.length)).toEqual([0, 0, 1, 0, 0]);
    giveBack(client);
  });

  it('keeps session state on one connection until release, then discards it', async () => {
    await reopen({ max: 1 });
    const client = await checkout();
    await client.query('CREATE TEMP TABLE mine (id int)');
    await client.query('INSERT INTO mine VALUES (7)');
    expect((await client.query('SELECT id FROM mine')).rows).toEqual([{ id: 7 }]);
    giveBack(client);
    const next = await checkout();
    await expect(next.query('SELECT id FROM mine')).rejects.toMatchObject({ code: '42P01' });
    giveBack(next);
  });

  it('tells how it parses a type, also while it is bound to a connection', async () => {
    const client = await checkout();
    const parse = (text: string): unknown =>
      (client.getTypeParser(pg.types.builtins.INT4) as (text: string) => unknown)(text);
    expect(parse('7')).toBe(7);
    await client.query('BEGIN');
    expect(parse('7')).toBe(7);
    await client.query('ROLLBACK');
  });

  it('waits for a place as long as it takes without connectionTimeoutMillis, as pg does', async () => {
    await reopen({ max: 1, failoverTimeoutMs: 50 });
    const client = await checkout();
    const waiting = [pool.query('SELECT 7 AS v'), pool.transaction((tx) => tx.query('SELECT 7 AS v'))];
    await client.query('SELECT pg_sleep(0.3)');
    giveBack(client);
    for (const { rows } of await Promise.all(waiting)) expect(rows).toEqual([{ v: 7 }]);
  });

  it('delivers notifications', async () => {
    const client = await checkout();
    const heard = new Promise<pg.Notification>((resolve) => client.on('notification', resolve));
    await client.query('LISTEN news');
    await pool.query(`NOTIFY news, 'hello'`);
    expect(await heard).toMatchObject({ channel: 'news', payload: 'hello' });
    giveBack(client);
  });

  it('runs nothing of a lost transaction outside it', async () => {
    const client = await checkout();
    client.on('error', () => undefined);
    await client.query('BEGIN');
    await client.query(`INSERT INTO item VALUES (-2, 'x')`);
    const { rows } = await client.query('SELECT pg_backend_pid() AS pid');
    await pool.leader.query('SELECT pg_terminate_backend($1)', [rows[0].pid]);
    const lost = { code: 'NOT_LEADER', outcome: 'not-applied' };
    await expect(client.query(`INSERT INTO item VALUES (-3, 'x')`)).rejects.toMatchObject(lost);
    await expect(client.query(`INSERT INTO item VALUES (-4, 'x')`)).rejects.toMatchObject(lost);
    await client.query('ROLLBACK');
    expect((await client.query('SELECT id FROM item WHERE id < 0 /* lockstep: leader */')).rows).toEqual([]);
    giveBack(client);
  });

  it('does not go on without its settings when the connection that held them is gone', async () => {
    const client = await checkout();
    await client.query(`SET search_path TO pg_catalog`);
    const { rows } = await client.query('SELECT pg_backend_pid() AS pid');
    await pool.leader.query('SELECT pg_terminate_backend($1)', [rows[0].pid]);
    const lost = { code: 'NOT_LEADER', outcome: 'not-applied' };
    await expect(client.query('SELECT 1')).rejects.toMatchObject(lost);
    await expect(client.query(`INSERT INTO item VALUES (-5, 'x')`)).rejects.toMatchObject(lost);
    giveBack(client);
    expect((await pool.leader.query('SELECT id FROM item WHERE id < 0')).rows).toEqual([]);
  });

  it('emits pg’s events and hands out to callbacks', async () => {
    const seen: string[] = [];
    for (const event of ['connect', 'acquire', 'release', 'remove'] as const) {
      pool.on(event, () => seen.push(event));
    }
    const removed = once(pool, 'remove');
    await new Promise<void>((resolve, reject) => {
      pool.connect((error, client, done) => {
        if (error) return reject(error);
        client?.query('SELECT 1', (queryError: Error | null) => {
          done(true);
          return queryError ? reject(queryError) : resolve();
        });
      });
    });
    await removed;
    expect(seen).toEqual(['acquire', 'connect', 'release', 'remove']);
  });

  it('waits for a place, and gives up by connectionTimeoutMillis', async () => {
    await reopen({ max: 1, connectionTimeoutMillis: 500 });
    const client = await checkout();
    const second = pool.connect();
    expect(pool.waitingCount).toBe(1);
    await expect(second).rejects.toThrow('timeout exceeded when trying to connect');
    giveBack(client);
    const third = await checkout();
    giveBack(third);
  });
});

it('refuses options where it would leave them out without a word', async () => {
  const refused = { code: 'CONFIG_INVALID', outcome: 'not-applied' };
  const query = pool.query.bind(pool) as unknown as (...args: readonly unknown[]) => Promise<unknown>;
  const beside = { ...refused, message: expect.stringMatching(/^Give "durability" in one object/) as string };
  await expect(query('SELECT 1', [], { durability: 'applied' })).rejects.toMatchObject(beside);
  const onLeader = pool.leader.query as unknown as typeof query;
  await expect(onLeader('SELECT 1', [], { durability: 'applied' })).rejects.toMatchObject(beside);
  const client = await pool.connect();
  const onClient = client.query.bind(client) as unknown as typeof query;
  await expect(async () => onClient('SELECT 1', [], { durability: 'applied' })).rejects.toMatchObject(beside);
  client.release();
  expect(() => pool.session({ tokn: 'x' } as never)).toThrow(/did you mean "token"/);
  expect(() => pool.withSession({ tokn: 'x' } as never, () => 1)).toThrow(/did you mean "token"/);
  await expect(pool.explainRoute('SELECT 1', { sesion: 1 } as never)).rejects.toThrow(/"session"/);
  await expect(pool.listen('x', undefined as never)).rejects.toThrow(/^Give a function as handler/);
  await expect(pool.listen('x', () => undefined, { onGapp: 1 } as never)).rejects.toThrow(/"onGap"/);
  expect(() => (connect as (...args: readonly unknown[]) => unknown)(cluster.url, { max: 3 })).toThrow(
    /^Give one object that holds the URL too/,
  );
});

describe('pool.explainRoute', () => {
  it('tells where statements would go, and what holds the others back', async () => {
    // The agents tell the nodes' names a little after the servers were found.
    await vi.waitFor(async () => expect((await pool.topology()).leader).toMatch(/^n\d$/), 10_000);
    const read = await pool.explainRoute(whereSql);
    expect(read).toMatchObject({ kind: 'read', role: 'follower' });
    expect(read.nodes.map(({ isEligible }) => isEligible).toSorted()).toEqual([false, true, true]);
    const write = await pool.explainRoute('DELETE FROM item WHERE id = -1');
    expect(write).toMatchObject({ kind: 'write', kindReason: 'DELETE', role: 'leader' });
    expect(String(write)).toMatch(/^It goes to leader n\d: must run on the leader\.\nThe text is a write/);
    const session = pool.session();
    await session.query('UPDATE item SET v = v WHERE id = 0');
    expect(String(await pool.explainRoute(whereSql, { session }))).toMatch(
      /session's position|rides in front/,
    );
  });
});

describe('pool.end', () => {
  it('refuses later use and a second end', async () => {
    await pool.query('SELECT 1');
    await pool.end();
    expect(pool.ended).toBe(true);
    expect(pool.totalCount).toBe(0);
    await expect(pool.query('SELECT 1')).rejects.toThrow('Cannot use a pool after calling end on the pool');
    await expect(pool.connect()).rejects.toThrow('Cannot use a pool after calling end on the pool');
    await expect(pool.end()).rejects.toThrow('Called end on pool more than once');
  });
});

describe('a server that cannot be used', () => {
  it('says what is wrong at once when waiting cannot help', async () => {
    const wrong = open({ password: 'not the password' });
    await expect(wrong.query('SELECT 1')).rejects.toMatchObject({ code: '28P01' });
    await wrong.end();
  });

  it('says NO_LEADER, not applied, when nothing answers in time', async () => {
    const nowhere = connect({ hosts: [{ host: '127.0.0.1', port: 1 }], user: 'app', failoverTimeoutMs: 300 });
    const expected = { code: 'NO_LEADER', outcome: 'not-applied', retryable: true };
    await expect(nowhere.query('INSERT INTO item VALUES (1)')).rejects.toMatchObject(expected);
    await expect(nowhere.connect()).rejects.toMatchObject(expected);
    await nowhere.end();
  });
});
