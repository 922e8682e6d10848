import { once } from 'node:events';
import pg from 'pg';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { connect, LockstepClient } from '../../src/index.ts';
import type { LockstepOptions, LockstepPool } from '../../src/index.ts';
import { startTestCluster } from '../../src/testing/cluster.ts';
import type { TestCluster } from '../../src/testing/cluster.ts';
import { until } from './fixture.ts';

let cluster: TestCluster;
let pool: LockstepPool;

beforeAll(async () => {
  cluster = await startTestCluster();
  pool = connect(cluster.url);
  await pool.query('CREATE TABLE item (id int PRIMARY KEY, v text)');
  await pool.query({ text: `INSERT INTO item VALUES (1, 'seen')`, durability: 'visible' });
});

afterAll(async () => {
  await pool?.end();
  await cluster?.[Symbol.asyncDispose]();
});

const clients: LockstepClient[] = [];

afterEach(async () => {
  await Promise.all(clients.splice(0).map((client) => client.end()));
});

function create(options: LockstepOptions = {}): LockstepClient {
  const client = new LockstepClient({ connectionString: cluster.url, ...options });
  clients.push(client);
  return client;
}

async function open(options: LockstepOptions = {}): Promise<LockstepClient> {
  const client = create(options);
  await client.connect();
  return client;
}

/** Connections of this name to the leader; an app's statements and the probes both count. */
async function connectionsOf(name: string): Promise<number> {
  const text = 'SELECT count(*)::int AS n FROM pg_stat_activity WHERE application_name = $1';
  return (await pool.leader.query(text, [name])).rows[0].n;
}

async function lockstepConnections(): Promise<number> {
  const text = `SELECT count(*)::int AS n FROM pg_stat_activity
    WHERE application_name = 'lockstep-probe' AND pid <> pg_backend_pid()`;
  return (await pool.leader.query(text)).rows[0].n;
}

async function portOfLeader(): Promise<number | undefined> {
  const { leader } = await pool.topology();
  return cluster.nodes.find(({ name }) => name === leader)?.port;
}

/** `sql` tells its server's port; what it needs may not have been replayed yet. */
async function untilReadOnFollower(client: LockstepClient, sql: string): Promise<void> {
  const leaderPort = await portOfLeader();
  await until('a read on a follower', async () => {
    const rows = await client.query(sql).then(
      (result) => result.rows,
      () => [],
    );
    return rows.length > 0 && rows[0].port !== leaderPort;
  });
}

async function isNappingOnFollower(): Promise<boolean> {
  const leaderPort = await portOfLeader();
  const followers = cluster.nodes.filter(({ port }) => port !== leaderPort);
  const counts = followers.map(async ({ dsn }) => {
    const client = new pg.Client({ connectionString: dsn });
    await client.connect();
    const { rows } = await client.query(`SELECT count(*)::int AS n FROM pg_stat_activity
      WHERE query LIKE '%nap(5)%' AND state = 'active' AND pid <> pg_backend_pid()`);
    await client.end();
    return rows[0].n;
  });
  return (await Promise.all(counts)).some((count) => count > 0);
}

describe('a client of its own', () => {
  it('takes every form of pg’s Client', async () => {
    const client = create();
    expect(client).toBeInstanceOf(pg.Client);
    expect(client.getTransactionStatus()).toBeNull();
    const early = client.query('SELECT 0 AS a');
    expect(await client.connect()).toBe(client);
    await expect(client.connect()).rejects.toThrow('already been connected');
    expect((await early).rows).toEqual([{ a: 0 }]);
    expect((await client.query('SELECT $1::int AS a', [1])).rows).toEqual([{ a: 1 }]);
    expect((await client.query({ text: 'SELECT 2', rowMode: 'array' })).rows).toEqual([[2]]);
    expect(() => client.query(null as never)).toThrow(TypeError);
    const byCallback = new Promise((resolve) => {
      client.query('SELECT $1::int AS a', [3], (_error, result) => resolve(result.rows));
    });
    expect(await byCallback).toEqual([{ a: 3 }]);
    const inConfig = new Promise((resolve) => {
      const callback = (_error: Error, result: pg.QueryResult): void => resolve(result.rows);
      void client.query({ text: 'SELECT 4 AS a', callback } as pg.QueryConfig);
    });
    expect(await inConfig).toEqual([{ a: 4 }]);
    const submitted = client.query(new pg.Query('SELECT 5 AS a'));
    expect(await once(submitted, 'row')).toMatchObject([{ a: 5 }, {}]);
    await expect(client.query('SELECT wrong')).rejects.toMatchObject({ code: '42703' });
    expect(client.escapeIdentifier('a"b') + client.escapeLiteral(`a'b`)).toBe(`"a""b"'a''b'`);
    expect(client.processID).toBeGreaterThan(0);
  });

  it('connects and ends by callback, and runs nothing afterwards', async () => {
    const client = create();
    await new Promise<void>((resolve, reject) => {
      client.connect((error: Error | null) => (error ? reject(error) : resolve()));
    });
    const ended = once(client, 'end');
    await new Promise<void>((resolve) => client.end(() => resolve()));
    await ended;
    await client.end();
    await expect(client.query('SELECT 1')).rejects.toThrow('not queryable');
  });

  it('tells errors, notices, notifications and drains', async () => {
    const client = await open();
    const events: string[] = [];
    client.on('notice', ({ message }) => events.push(message ?? ''));
    client.on('drain', () => events.push('drain'));
    await client.query(`DO $$ BEGIN RAISE NOTICE 'told'; END $$`);
    await until('drain', () => events.join() === 'told,drain');
    await client.query('LISTEN news');
    const heard = once(client, 'notification');
    await pool.query(`NOTIFY news, 'hello'`);
    expect(await heard).toMatchObject([{ channel: 'news', payload: 'hello' }]);
    const failed = once(client, 'error');
    const ended = new Promise<void>((resolve) => client.on('end', resolve));
    await pool.leader.query('SELECT pg_terminate_backend($1)', [client.processID]);
    expect(await failed).toMatchObject([{ code: '57P01' }]);
    await ended;
    await expect(client.query('SELECT 1')).rejects.toThrow('not queryable');
  });

  it('reads on followers, and writes on the leader', async () => {
    const client = await open();
    const leaderPort = await portOfLeader();
    const portNow = async (): Promise<number> =>
      (await client.query('SELECT inet_server_port() AS port')).rows[0].port;
    await untilReadOnFollower(client, 'SELECT inet_server_port() AS port');
    await client.query('BEGIN');
    expect(client.getTransactionStatus()).toBe('T');
    expect(await portNow()).toBe(leaderPort);
    await client.query('ROLLBACK');
    expect(client.getTransactionStatus()).toBe('I');
  });

  it('has parsers of its own, without binding a connection', async () => {
    const [client, other] = [await open(), await open()];
    client.setTypeParser(pg.types.builtins.INT4, (text: string) => `int ${text}`);
    expect((await client.query('SELECT 1 AS a')).rows).toEqual([{ a: 'int 1' }]);
    expect((await client.query(`SELECT $1::int AS a /* lockstep: leader */`, [2])).rows).toEqual([
      { a: 'int 2' },
    ]);
    expect((await other.query('SELECT 1 AS a')).rows).toEqual([{ a: 1 }]);
  });

  // A server process that sleeps does not look whether anybody is there.
  it('cuts off what is under way when it ends', async () => {
    const startedAtMs = performance.now();
    const codeWhenCutOff = async (begin: string, sql: string): Promise<unknown> => {
      const client = await open();
      await client.query(begin);
      const slow = client.query(sql).catch((error: unknown) => error);
      await client.end();
      const error = (await slow) as { code?: unknown; message: string };
      return error.code ?? error.message;
    };
    expect(await codeWhenCutOff('BEGIN', 'SELECT pg_sleep(5)')).toBe('NOT_LEADER');
    expect(
      await codeWhenCutOff(
        'SELECT 1 /* lockstep: leader */',
        'UPDATE item SET v = v WHERE pg_sleep(5) IS NULL',
      ),
    ).toBe('COMMIT_UNKNOWN');
    expect(performance.now() - startedAtMs).toBeLessThan(4000);
  });

  it('cuts off a read on a follower when it ends', async () => {
    // What begins with pg_ goes to the leader, hint or not; a stable function of the app's own is read anywhere.
    await pool.leader.query(`CREATE FUNCTION nap(seconds int) RETURNS text STABLE LANGUAGE sql
      AS 'SELECT pg_sleep(seconds)::text'`);
    // Held open: the pool that both share has then seen a follower, and a new one may not have.
    const beside = await open();
    await untilReadOnFollower(beside, 'SELECT inet_server_port() AS port, nap(0) /* lockstep: follower */');
    const client = await open();
    const startedAtMs = performance.now();
    const slow = client.query('SELECT nap(5) /* lockstep: follower */');
    const failed = expect(slow).rejects.toThrow('not queryable');
    await until('it runs on a follower', isNappingOnFollower);
    await client.end();
    await failed;
    expect(performance.now() - startedAtMs).toBeLessThan(4000);
    await beside.end();
  });

  it('refuses what connect() refuses, and what it cannot reach', async () => {
    expect(() => new LockstepClient({ hosts: [], failoverTimeout: 1 } as LockstepOptions)).toThrow(
      'failoverTimeout',
    );
    const lost = create({ failoverTimeoutMs: 300, hosts: [{ host: '127.0.0.1', port: 1 }] });
    const early = lost.query('SELECT 1').catch((error: unknown) => error);
    await expect(lost.connect()).rejects.toMatchObject({ code: 'NO_LEADER' });
    expect(await early).toMatchObject({ code: 'NO_LEADER' });
  });
});

describe('many clients', () => {
  it('share the probes of one pool, which ends with the last', async () => {
    await until('no probes but the pool’s', async () => (await lockstepConnections()) <= 2);
    const before = await lockstepConnections();
    const options = { application_name: 'many' };
    // The password is hidden from loops, as Knex does.
    const { username, password, pathname } = new URL(cluster.nodes[0]?.dsn ?? '');
    const hosts = cluster.nodes.map(({ host, port }) => ({ host, port }));
    const open20 = Array.from({ length: 20 }, () => {
      const visible = { ...options, user: username, database: pathname.slice(1), hosts: [...hosts] };
      return new LockstepClient(Object.defineProperty(visible, 'password', { value: password }));
    });
    clients.push(...open20);
    await Promise.all(open20.map((client) => client.connect()));
    // More at once than a pool's default of 10.
    await Promise.all(open20.map((client) => client.query('BEGIN')));
    expect(await connectionsOf('many')).toBe(20);
    expect((await lockstepConnections()) - before).toBeLessThan(10);
    await Promise.all(open20.map((client) => client.query('ROLLBACK')));
    await Promise.all(open20.slice(1).map((client) => client.end()));
    expect((await open20[0]?.query('SELECT 1 AS a'))?.rows).toEqual([{ a: 1 }]);
    await open20[0]?.end();
    await until('no connection', async () => (await connectionsOf('many')) === 0);
    expect(await lockstepConnections()).toBeLessThanOrEqual(before);
  });

  it('may belong to a pool of the app’s, with its ambient sessions', async () => {
    const client = new LockstepClient(pool);
    clients.push(client);
    await client.connect();
    await pool.withSession({}, async () => {
      for (let n = 1; n <= 20; n += 1) {
        await client.query('UPDATE item SET v = $1 WHERE id = 1', [`v${n}`]);
        expect((await client.query('SELECT v FROM item WHERE id = 1')).rows).toEqual([{ v: `v${n}` }]);
      }
    });
    await client.end();
    expect((await pool.query('SELECT 1 AS a')).rows).toEqual([{ a: 1 }]);
  });
});

it('works on when the leader dies, and tells only what is lost', async () => {
  const options = { application_name: 'failover' };
  const [idle, busy] = [await open(options), await open(options)];
  const told: string[] = [];
  idle.on('error', () => told.push('idle'));
  idle.on('end', () => told.push('idle ended'));
  busy.on('error', () => told.push('busy'));
  busy.on('end', () => told.push('busy ended'));
  await idle.query(`INSERT INTO item VALUES (10, 'before')`);
  await busy.query('BEGIN');
  await busy.query(`INSERT INTO item VALUES (11, 'lost')`);
  await cluster.kill(await cluster.leader());
  await idle.query(`INSERT INTO item VALUES (12, 'after')`);
  await expect(busy.query('COMMIT')).rejects.toMatchObject({ code: 'NOT_LEADER', outcome: 'not-applied' });
  await busy.query(`INSERT INTO item VALUES (13, 'after')`);
  const { rows } = await idle.query('SELECT id FROM item WHERE id >= 10 ORDER BY 1 /* lockstep: leader */');
  expect(rows.map(({ id }: { id: number }) => id)).toEqual([10, 12, 13]);
  expect(told).toEqual(['busy']);
});
