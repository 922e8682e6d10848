import type pg from 'pg';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { signalProcessTree } from '../../src/cli/dev/process-tree.ts';
import { connect } from '../../src/index.ts';
import type { CommitWait, LockstepOptions, LockstepPool } from '../../src/index.ts';
import { takeBaseBackup } from '../../src/postgres/copy/base-backup.ts';
import { findPostgres } from '../../src/postgres/binaries.ts';
import { probe } from '../../src/postgres/probe.ts';
import type { PostgresServer } from '../../src/postgres/server.ts';
import { freePort, ServerFixture, until } from './fixture.ts';

const PASSWORD = 'app-password';

let fixture: ServerFixture;
let admin: pg.Client;
const ports: number[] = [];
const followers: PostgresServer[] = [];
const pools: LockstepPool[] = [];

beforeAll(async () => {
  fixture = await ServerFixture.create(await findPostgres('system').catch(() => findPostgres('embedded')));
  for (let index = 0; index < 3; index += 1) ports.push(await freePort());
  const [port = 0] = ports;
  await fixture.initialize('a');
  const leader = await fixture.start('a', port);
  await leader.promote(20_000);
  admin = await leader.connect();
  await admin.query(`CREATE ROLE app LOGIN PASSWORD '${PASSWORD}'`);
  await admin.query('CREATE TABLE public.item (id int PRIMARY KEY, level text)');
  await admin.query('GRANT ALL ON public.item TO app');
  await Promise.all(['b', 'c'].map((name, index) => addFollower(name, ports[index + 1] ?? 0)));
  await admin.query(`ALTER SYSTEM SET synchronous_standby_names = 'ANY 1 (b, c)'`);
  await admin.query('SELECT pg_reload_conf()');
});

async function addFollower(name: string, port: number): Promise<void> {
  const { account } = fixture;
  const source = fixture.address(ports[0] ?? 0);
  await takeBaseBackup({ source, dataDir: fixture.dataDir(name), account });
  const follower = await fixture.start(name, port, ports[0]);
  const client = await follower.connect();
  await until('it streams', async () => (await probe(client)).isReceiving);
  await client.end();
  followers.push(follower);
}

afterEach(async () => {
  await Promise.all(pools.splice(0).map((pool) => pool.end()));
});

afterAll(async () => {
  await admin?.end();
  await fixture?.[Symbol.asyncDispose]();
});

function open(over: LockstepOptions = {}): LockstepPool {
  const hosts = ports.map((port) => ({ host: '127.0.0.1', port }));
  const pool = connect({ hosts, user: 'app', password: PASSWORD, database: 'postgres', ...over });
  pools.push(pool);
  return pool;
}

/** SIGSTOP for both followers, until disposed of. */
async function stopFollowers(): Promise<AsyncDisposable> {
  const signal = async (name: 'SIGSTOP' | 'SIGCONT'): Promise<void> => {
    await Promise.all(followers.map(({ pid }) => signalProcessTree(pid ?? 0, name)));
  };
  await signal('SIGSTOP');
  return { [Symbol.asyncDispose]: () => signal('SIGCONT') };
}

let lastId = 0;
const insert = 'INSERT INTO item VALUES ($1)';
const withClient = async (
  pool: LockstepPool,
  work: (client: pg.PoolClient) => Promise<unknown>,
): Promise<void> => {
  const client = await pool.connect();
  try {
    await work(client);
  } finally {
    client.release(true);
  }
};

/** Every way in which a commit can be sent. */
const ways: Record<string, (pool: LockstepPool, id: number, wait: CommitWait) => Promise<unknown>> = {
  'a statement': (pool, id, wait) => pool.query({ text: insert, values: [id], ...wait }),
  'a statement of a session': (pool, id, wait) =>
    pool.session().query({ text: insert, values: [id], ...wait }),
  'a transaction': (pool, id, wait) => pool.transaction((tx) => tx.query(insert, [id]), wait),
  'a batch': (pool, id, wait) => pool.transaction([{ text: insert, values: [id] }], wait),
  'a client’s statement': (pool, id, wait) =>
    withClient(pool, (client) =>
      client.query({ text: insert, values: [id], ...wait } as pg.QueryConfig<unknown[]>),
    ),
  'a client’s statement after SET': (pool, id, wait) =>
    withClient(pool, async (client) => {
      await client.query(`SET application_name TO 'bound'`);
      await client.query({ text: insert, values: [id], ...wait } as pg.QueryConfig<unknown[]>);
    }),
  'a client’s COMMIT': (pool, id, wait) =>
    withClient(pool, async (client) => {
      await client.query('BEGIN');
      await client.query(insert, [id]);
      await client.query({ text: 'COMMIT', ...wait } as pg.QueryConfig);
    }),
};

async function commitInEveryWay(
  pool: LockstepPool,
  wait: CommitWait,
): Promise<Map<number, Promise<unknown>>> {
  await pool.topology();
  const commits = Object.values(ways).map((way) => {
    const id = (lastId += 1);
    return [
      id,
      way(pool, id, wait).then(
        () => 'success',
        (error: unknown) => error,
      ),
    ] as const;
  });
  return new Map(commits);
}

const rowsOf = async (ids: Iterable<number>): Promise<number> =>
  (await admin.query('SELECT FROM item WHERE id = ANY ($1)', [[...ids]])).rowCount ?? 0;

describe('with both followers stopped', () => {
  it('no way of committing takes a cancelled wait for a success (I4)', async () => {
    const pool = open({ durabilityTimeoutMs: 0, max: 20 });
    await using _ = await stopFollowers();
    const commits = await commitInEveryWay(pool, { durability: 'sync' });
    await until('every commit waits', async () => {
      const { rows } = await admin.query(
        `SELECT count(*)::int AS n FROM pg_stat_activity WHERE wait_event = 'SyncRep'`,
      );
      return rows[0].n === commits.size;
    });
    expect(await rowsOf(commits.keys())).toBe(0);
    await admin.query(`SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'`);
    const outcomes = await Promise.all(commits.values());
    const expected = { code: 'DURABILITY_TIMEOUT', outcome: 'applied', details: { cause: 'cancelled' } };
    expect(outcomes).toMatchObject(outcomes.map(() => expected));
    expect(await rowsOf(commits.keys())).toBe(commits.size);
  });

  it('the limit of an operation ends its wait, which PostgreSQL’s own timeouts do not', async () => {
    const pool = open({ durabilityTimeoutMs: 0, max: 20, statement_timeout: 100, lock_timeout: 100 });
    let commits: Map<number, Promise<unknown>>;
    {
      await using _ = await stopFollowers();
      commits = await commitInEveryWay(pool, { durability: 'sync', durabilityTimeoutMs: 500 });
      const outcomes = await Promise.all(commits.values());
      const expected = { code: 'DURABILITY_TIMEOUT', outcome: 'applied', details: { cause: 'limit' } };
      expect(outcomes).toMatchObject(outcomes.map(() => expected));
      expect((outcomes[0] as Error).message).toContain('500 ms');
    }
    await until('every commit shows', async () => (await rowsOf(commits.keys())) === commits.size);
  });
});

describe('a named policy', () => {
  const returning = `INSERT INTO item SELECT $1, current_setting('synchronous_commit') RETURNING level`;
  const statement = (): { text: string; values: number[] } => ({ text: returning, values: [(lastId += 1)] });

  it('stands for its durability wherever one may be named', async () => {
    const pool = open({ durability: { order: 'visible', review: 'async' } });
    const levelOf = (result: pg.QueryResult | undefined): unknown => result?.rows[0].level;
    expect(levelOf(await pool.query({ ...statement(), durability: 'order' }))).toBe('remote_apply');
    expect(levelOf(await pool.leader.query({ ...statement(), durability: 'review' }))).toBe('local');
    expect(levelOf(await pool.session().query({ ...statement(), durability: 'review' }))).toBe('local');
    const review = { durability: 'review' };
    expect(levelOf(await pool.transaction((tx) => tx.query(statement()), review))).toBe('local');
    expect(levelOf((await pool.transaction([statement()], review))[0])).toBe('local');
    await withClient(pool, async (client) => {
      await client.query({ text: 'BEGIN', durability: 'off' } as pg.QueryConfig);
      expect(levelOf(await client.query(statement()))).toBe('off');
      expect(levelOf(await client.query({ ...statement(), ...review } as pg.QueryConfig))).toBe('local');
      expect(levelOf(await client.query(statement()))).toBe('local');
      await client.query('COMMIT');
      expect(levelOf(await client.query(statement()))).toBe('on');
    });
  });

  it('must be known, and belongs to a transaction as a whole', async () => {
    const pool = open({ durability: { order: 'visible' } });
    const unknown = { code: 'CONFIG_INVALID', message: expect.stringMatching(/visible, order\.$/) as string };
    const named = { durability: 'ordre' };
    await expect(pool.query({ ...statement(), ...named })).rejects.toMatchObject(unknown);
    await expect(pool.transaction(async () => 1, named)).rejects.toMatchObject(unknown);
    await withClient(pool, (client) =>
      expect(client.query({ ...statement(), ...named } as pg.QueryConfig)).rejects.toMatchObject(unknown),
    );
    const refused = { code: 'CONFIG_INVALID', outcome: 'not-applied' };
    const inside = { ...statement(), durability: 'order' };
    await expect(pool.transaction([inside])).rejects.toMatchObject(refused);
    const fn = (tx: { query(config: pg.QueryConfig): Promise<unknown> }): Promise<unknown> =>
      tx.query(inside);
    await expect(pool.transaction(fn)).rejects.toMatchObject(refused);
    await expect(pool.query({ ...statement(), durabilityTimeoutMs: -1 })).rejects.toMatchObject(refused);
    expect(await rowsOf([lastId - 1, lastId])).toBe(0);
  });
});
