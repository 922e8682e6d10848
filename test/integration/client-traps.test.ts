import type pg from 'pg';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { connect } from '../../src/index.ts';
import type { LockstepOptions, LockstepPool, Session } from '../../src/index.ts';
import { parseLsn } from '../../src/model/lsn.ts';
import type { Lsn } from '../../src/model/lsn.ts';
import { takeBaseBackup } from '../../src/postgres/copy/base-backup.ts';
import { findPostgres } from '../../src/postgres/binaries.ts';
import type { PostgresServer } from '../../src/postgres/server.ts';
import { freePort, ServerFixture, until } from './fixture.ts';
import { FlightCounter } from './flight-counter.ts';

/**
 * What is easily built wrong, on servers without agents: see docs/internals/client-traps.md, which names the
 * test of each trap. `b` and `c` follow `a`.
 */
type Name = 'a' | 'b' | 'c';

const PASSWORD = 'app-password';

let fixture: ServerFixture;
const ports = {} as Record<Name, number>;
const servers = {} as Record<Name, PostgresServer>;
const admins = {} as Record<Name, pg.Client>;
const pools: LockstepPool[] = [];

beforeAll(async () => {
  fixture = await ServerFixture.create(await findPostgres('system').catch(() => findPostgres('embedded')));
  for (const name of ['a', 'b', 'c'] as const) ports[name] = await freePort();
  await fixture.initialize('a');
  servers.a = await fixture.start('a', ports.a);
  await servers.a.promote(20_000);
  admins.a = await servers.a.connect();
  await admins.a.query(`CREATE ROLE app LOGIN PASSWORD '${PASSWORD}'`);
  await admins.a.query('GRANT CREATE ON DATABASE postgres TO app; GRANT CREATE ON SCHEMA public TO app');
  await Promise.all([follow('b'), follow('c')]);
  const pool = open(['a', 'b']);
  await pool.query('CREATE TABLE item (id int PRIMARY KEY, v text)');
  await pool.query('CREATE UNLOGGED TABLE unlogged_item (id int)');
  await pool.query('CREATE SEQUENCE ticket');
  // One call runs it, so that a later test need not count the flight that creates its table.
  await pool.query({ text: 'SELECT 1', idempotencyKey: 'first' });
  await pool.end();
  pools.pop();
});

async function follow(name: Name): Promise<void> {
  const source = fixture.address(ports.a);
  await takeBaseBackup({ source, dataDir: fixture.dataDir(name), account: fixture.account });
  servers[name] = await fixture.start(name, ports[name], ports.a);
  admins[name] = await servers[name].connect();
}

afterEach(async () => {
  await Promise.all(pools.splice(0).map((pool) => pool.end()));
});

afterAll(async () => {
  for (const admin of Object.values(admins)) await admin.end().catch(() => undefined);
  await fixture?.[Symbol.asyncDispose]();
});

function open(hosts: readonly (Name | FlightCounter)[], options: LockstepOptions = {}): LockstepPool {
  const pool = connect({
    hosts: hosts.map((at) => ({
      host: '127.0.0.1',
      port: typeof at === 'string' ? ports[at] : at.port,
    })),
    user: 'app',
    password: PASSWORD,
    database: 'postgres',
    ...options,
  });
  pools.push(pool);
  return pool;
}

async function lsnOf(name: Name, sql: string): Promise<Lsn> {
  const { rows } = await admins[name].query<{ lsn: string }>(`SELECT ${sql} AS lsn`);
  return parseLsn(rows[0]?.lsn ?? '');
}

/** `b` has replayed all that is on `a`'s disk. */
async function untilCaughtUp(): Promise<void> {
  await until('the follower has caught up', async () => {
    const flushed = await lsnOf('a', 'pg_current_wal_flush_lsn()');
    return (await lsnOf('b', 'pg_last_wal_replay_lsn()')) >= flushed;
  });
}

/** Replay on `b` stands still, right behind all that was written so far, until disposed of. */
async function pauseReplay(): Promise<AsyncDisposable> {
  await untilCaughtUp();
  await admins.b.query('SELECT pg_wal_replay_pause()');
  await until('replay is paused', async () => {
    const { rows } = await admins.b.query('SELECT pg_get_wal_replay_pause_state() AS state');
    return rows[0].state === 'paused';
  });
  return {
    async [Symbol.asyncDispose]() {
      await admins.b.query('SELECT pg_wal_replay_resume()');
    },
  };
}

let lastId = 0;
const newId = (): number => (lastId += 1);
const insert = 'INSERT INTO item VALUES ($1)';
const find = 'SELECT id FROM item WHERE id = $1';

describe('a token', () => {
  const ways: Record<string, (session: Session, pool: LockstepPool, id: number) => Promise<unknown>> = {
    'a statement': (session, _pool, id) => session.query(insert, [id]),
    'a statement with a durability': (session, _pool, id) =>
      session.query({ text: insert, values: [id], durability: 'async' } as pg.QueryConfig),
    'a transaction': (session, _pool, id) => session.transaction((tx) => tx.query(insert, [id])),
    'a batch': (session, _pool, id) => session.transaction([{ text: insert, values: [id] }]),
    'a client’s COMMIT': (session, pool, id) =>
      pool.withSession(session, async () => {
        const client = await pool.connect();
        await client.query('BEGIN');
        await client.query(insert, [id]);
        await client.query('COMMIT');
        client.release();
      }),
  };

  it.each(Object.keys(ways))('of %s is not taken before the commit record', async (way) => {
    const pool = open(['a', 'b']);
    await pool.topology();
    await using _replay = await pauseReplay();
    const session = pool.session();
    const id = newId();
    await ways[way]?.(session, pool, id);
    // The write is all that the follower lacks.
    expect((await admins.b.query(find, [id])).rows).toEqual([]);
    expect((await session.query(find, [id])).rows).toEqual([{ id }]);
  });

  it.each(['sync', 'off'] as const)(
    'of a commit at %s that ends with its page is one that followers reach',
    async (durability) => {
      const pool = open(['a', 'b']);
      await pool.topology();
      const session = await until('a commit that ends with its page', async () => {
        const fresh = pool.session();
        await fillPage(fresh, durability);
        const inserted = await lsnOf('a', 'pg_current_wal_insert_lsn()');
        return inserted % PAGE_BYTES === PAGE_HEADER_BYTES ? fresh : null;
      });
      await untilPageReplayed();
      await session.query('SELECT id FROM item');
      const [, follower] = (await pool.topology()).nodes;
      expect(pool.stats()).toMatchObject({ gateMisses: 0, readsByNode: { [follower?.name ?? '']: 1 } });
    },
  );
});

const PAGE_BYTES = 8192n;
const PAGE_HEADER_BYTES = 24n;
/** Headers of a message with the prefix `trap`, and its commit. Source: PostgreSQL, `xl_logical_message`, `xl_xact_commit`. */
const RECORD_BYTES = 58n + 48n;
/** Smaller messages have a shorter header. */
const LEAST_MESSAGE_BYTES = 256n;

/** Commits what takes up the rest of a page of the log, unless a server process writes something in between. */
async function fillPage(session: Session, durability: string): Promise<void> {
  const inserted = await lsnOf('a', 'pg_current_wal_insert_lsn()');
  let left = PAGE_BYTES - (inserted % PAGE_BYTES);
  if (left < RECORD_BYTES + LEAST_MESSAGE_BYTES) left += PAGE_BYTES - PAGE_HEADER_BYTES;
  await session.query({
    text: `SELECT pg_logical_emit_message(true, 'trap', repeat('x', $1))`,
    values: [Number(left - RECORD_BYTES)],
    durability,
  } as pg.QueryConfig);
}

/** `b` has replayed the page that ends before the insert position. */
async function untilPageReplayed(): Promise<void> {
  const end = (await lsnOf('a', 'pg_current_wal_insert_lsn()')) - PAGE_HEADER_BYTES;
  await until('the page is replayed', async () => (await lsnOf('b', 'pg_last_wal_replay_lsn()')) >= end);
}

describe('what a follower refuses', () => {
  /** Each in a function, whose name tells nothing. */
  const bodies: Record<string, string> = {
    'FOR UPDATE': 'PERFORM FROM item FOR UPDATE',
    nextval: `PERFORM nextval('ticket')`,
    'a writing WITH': `WITH d AS (DELETE FROM item WHERE id < 0 RETURNING 1) SELECT count(*) INTO n FROM d`,
    NOTIFY: `NOTIFY trap`,
    DDL: 'CREATE TEMP TABLE trap_temp (id int) ON COMMIT DROP',
    'an unlogged table': 'PERFORM FROM unlogged_item',
    'LOCK TABLE': 'LOCK TABLE item IN EXCLUSIVE MODE',
  };

  it.each(Object.keys(bodies))('runs on the leader: %s', async (what) => {
    const pool = open(['a', 'b']);
    const name = `trap_${Object.keys(bodies).indexOf(what)}`;
    // By somebody else: the pool would look for what it created, and know the function before it is called.
    await admins.a.query(`CREATE FUNCTION public.${name}() RETURNS int LANGUAGE plpgsql VOLATILE AS
      $$ DECLARE n int; BEGIN ${bodies[what]}; RETURN inet_server_port(); END $$`);
    await untilCaughtUp();
    await pool.topology();
    const call = `SELECT ${name}() AS port`;
    expect((await pool.follower.query(call)).rows).toEqual([{ port: ports.a }]);
    expect(pool.stats().redirected).toBe(1);
    expect((await pool.follower.query(call)).rows).toEqual([{ port: ports.a }]);
    expect(pool.stats().redirected).toBe(1);
  });

  it('runs on the leader: whatever is SERIALIZABLE by default', async () => {
    const pool = open(['a', 'b'], { options: '-c default_transaction_isolation=serializable' });
    await pool.topology();
    const session = pool.session();
    const id = newId();
    await session.query(insert, [id]);
    expect((await session.query(find, [id])).rows).toEqual([{ id }]);
    expect((await pool.query(`SELECT inet_server_port() AS port`)).rows).toEqual([{ port: ports.a }]);
  });
});

describe('what a follower would do without complaint', () => {
  it.each([
    'pg_advisory_lock(1)',
    'pg_try_advisory_xact_lock(1)',
    `set_config('lockstep.trap', 'x', false)`,
    'pg_export_snapshot()',
    'pg_cancel_backend(0), pg_terminate_backend(0)',
    'pg_is_in_recovery()',
    '(SELECT count(*) FROM pg_stat_activity)',
  ])('goes to the leader, also where a follower is asked for: %s', async (call) => {
    const pool = open(['a', 'b']);
    await pool.topology();
    const text = `/* lockstep: follower */ SELECT inet_server_port() AS port, ${call} AS value`;
    for (const on of [pool, pool.follower])
      expect((await on.query(text)).rows).toMatchObject([{ port: ports.a }]);
    expect(pool.stats()).toMatchObject({ readsByNode: {}, redirected: 0 });
  });
});

describe('one more statement is no more round trip', () => {
  it('for tokens, durability, BEGIN, COMMIT, keys and the gate', async () => {
    await using leader = await FlightCounter.start(ports.a);
    await using follower = await FlightCounter.start(ports.b);
    const pool = open([leader, follower], { max: 1 });
    await pool.topology();
    await Promise.all([pool.leader.query('SELECT 1'), pool.follower.query('SELECT 1')]);
    const session = pool.session();
    const config = (): pg.QueryConfig => ({ text: insert, values: [newId()] });
    const flights = async (work: () => Promise<unknown>): Promise<{ leader: number; follower: number }> => {
      [leader, follower].map((at) => at.take());
      await work();
      return { leader: leader.take(), follower: follower.take() };
    };
    const durable = { ...config(), durability: 'async' };
    expect(await flights(() => session.query(config()))).toEqual({ leader: 1, follower: 0 });
    expect(await flights(() => session.query(durable))).toEqual({ leader: 1, follower: 0 });

    const options = { durability: 'async', isolation: 'serializable' } as const;
    const three = (): Promise<unknown> =>
      session.transaction(async (tx) => {
        for (let count = 0; count < 3; count += 1) await tx.query(config());
      }, options);
    expect(await flights(three)).toEqual({ leader: 4, follower: 0 });
    const batch = (): Promise<unknown> => session.transaction([config(), config(), config()], options);
    expect(await flights(batch)).toEqual({ leader: 1, follower: 0 });
    const keyed = (idempotencyKey: string): Promise<unknown> =>
      session.transaction((tx) => tx.query(config()), { ...options, idempotencyKey });
    // A pool's first key comes with a look at who owns the table of keys.
    expect(await flights(() => keyed('the first'))).toEqual({ leader: 4, follower: 0 });
    expect(await flights(() => keyed('the second'))).toEqual({ leader: 3, follower: 0 });

    const client = await pool.connect();
    const byHand = (): Promise<unknown> =>
      pool.withSession(session, async () => {
        await client.query('BEGIN');
        await client.query(config());
        await client.query({ text: 'COMMIT', durability: 'async' } as pg.QueryConfig);
      });
    expect(await flights(byHand)).toEqual({ leader: 3, follower: 0 });
    client.release();

    await untilCaughtUp();
    const read = (): Promise<unknown> => session.query('SELECT id FROM item');
    expect(await flights(read)).toEqual({ leader: 0, follower: 1 });
    expect(pool.stats()).toMatchObject({ gatePasses: 1, gateMisses: 0, watermarkHits: 0 });
  });
});

/** No probe of `c` is due soon: until a leader is found they follow each other closely, and one would tell as well. */
async function untilProbesRest(): Promise<void> {
  await until('the probes rest', async () => {
    const { rows } = await admins.c.query(
      `SELECT bool_and(state = 'idle' AND state_change < clock_timestamp() - interval '1 second') AS rest
       FROM pg_stat_activity WHERE application_name = 'lockstep-probe'`,
    );
    return rows[0].rest;
  });
}

describe('a promotion', () => {
  it('is told by a live connection, long before the next probe', async () => {
    const pool = open(['a', 'c'], { probeIntervalMs: 60_000 });
    const { leader } = await pool.topology();
    await pool.follower.query('SELECT 1');
    await untilProbesRest();
    await servers.c.promote(20_000);
    await pool.follower.query('SELECT 1');
    await until('the pool has seen it', async () => (await pool.topology()).leader !== leader);
    expect((await pool.leader.query('SELECT inet_server_port() AS port')).rows).toEqual([{ port: ports.c }]);
  });

  it('that gives the id of a lost transaction to another one is not taken for its commit', async () => {
    await using former = await FlightCounter.start(ports.a);
    await using next = await FlightCounter.start(ports.b);
    next.isDown = true;
    const pool = open([former, next], { failoverTimeoutMs: 30_000 });
    await untilCaughtUp();
    await admins.b.query(`ALTER SYSTEM SET primary_conninfo TO ''`);
    await admins.b.query('SELECT pg_reload_conf()');
    await until('the follower is cut off', async () => {
      const { rows } = await admins.b.query('SELECT FROM pg_stat_wal_receiver');
      return rows.length === 0;
    });
    const id = newId();
    const xids: bigint[] = [];
    const cut = former.cutAfter('COMMIT');
    const calling = pool.transaction(
      async (tx) => {
        const { rows } = await tx.query(`${insert} RETURNING pg_current_xact_id()::text AS xid`, [id]);
        xids.push(BigInt(rows[0].xid));
      },
      { idempotencyKey: 'lost' },
    );
    await cut;
    expect((await admins.a.query(find, [id])).rows).toHaveLength(1);
    await servers.b.promote(20_000);
    const status = async (): Promise<string | null> =>
      (await admins.b.query('SELECT pg_xact_status($1::text::xid8) AS status', [String(xids[0])])).rows[0]
        .status;
    await until('another transaction has its id', async () => {
      const { rows } = await admins.b.query('SELECT pg_current_xact_id()::text AS xid');
      return BigInt(rows[0].xid) >= (xids[0] ?? 0n);
    });
    expect(await status()).toBe('committed');
    expect((await admins.b.query(find, [id])).rows).toEqual([]);
    next.isDown = false;
    await calling;
    expect(xids).toHaveLength(2);
    expect((await admins.b.query(find, [id])).rows).toEqual([{ id }]);
  });
});
