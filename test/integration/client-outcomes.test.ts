import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import pg from 'pg';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { systemClock } from '../../src/clock/system-clock.ts';
import { OutcomeTable } from '../../src/client/transaction/outcome.ts';
import { connect, LockstepError } from '../../src/index.ts';
import type { LockstepOptions, LockstepPool, Transaction } from '../../src/index.ts';
import { startTestCluster } from '../../src/testing/cluster.ts';
import type { TestCluster } from '../../src/testing/cluster.ts';
import { startFaultProxy } from '../../src/testing/fault-proxy.ts';
import type { CutMoment, FaultProxy } from '../../src/testing/fault-proxy.ts';

let cluster: TestCluster;
let proxy: FaultProxy;
/** Unharmed. */
let direct: LockstepPool;
/** Through the proxy. */
let pool: LockstepPool;

beforeAll(async () => {
  cluster = await startTestCluster({ nodes: 1 });
  proxy = await startFaultProxy(cluster.url);
  direct = connect(cluster.url);
  await direct.query('CREATE TABLE effect (id text PRIMARY KEY, count int NOT NULL)');
});

afterAll(async () => {
  await direct?.end();
  await proxy?.[Symbol.asyncDispose]();
  await cluster?.[Symbol.asyncDispose]();
});

beforeEach(() => {
  pool = open();
});

afterEach(async () => {
  proxy.disturb();
  await pool.end();
});

function open(options: LockstepOptions = {}): LockstepPool {
  return connect({ connectionString: proxy.url, ...options });
}

async function asSuperuser(text: string): Promise<void> {
  const file = await readFile(join(cluster.folder, 'cluster.json'), 'utf8');
  const { secrets } = JSON.parse(file) as { readonly secrets: { readonly superuser: string } };
  const [node] = cluster.nodes;
  const client = new pg.Client({
    host: node?.host,
    port: node?.port,
    user: 'lockstep',
    password: secrets.superuser,
    database: new URL(cluster.url).pathname.slice(1),
  });
  await client.connect();
  try {
    await client.query(text);
  } finally {
    await client.end();
  }
}

const WRITE = `INSERT INTO effect AS e VALUES ($1, 1) ON CONFLICT (id) DO UPDATE SET count = e.count + 1
  RETURNING id, count, now() AS at`;

async function countOf(id: string): Promise<number> {
  const { rows } = await direct.leader.query<{ count: number }>('SELECT count FROM effect WHERE id = $1', [
    id,
  ]);
  return rows[0]?.count ?? 0;
}

/** Counts how often the function ran. */
function writer(id: string): {
  runs: number;
  run(transaction: Transaction): Promise<{ at: Date; run: number }>;
} {
  return {
    runs: 0,
    async run(transaction) {
      this.runs += 1;
      const run = this.runs;
      const { rows } = await transaction.query<{ at: Date }>(WRITE, [id]);
      return { at: rows[0]?.at as Date, run };
    },
  };
}

/** The next COMMIT is struck, then no more. */
function strikeOnce(when: CutMoment): void {
  let isSpent = false;
  const sql = {
    test: (text: string): boolean => {
      if (isSpent || !text.endsWith('COMMIT')) return false;
      isSpent = true;
      return true;
    },
  };
  proxy.disturb({ when, sql: sql as RegExp });
}

const MOMENTS: readonly CutMoment[] = ['before', 'in-flight', 'late', 'answered'];

describe('a COMMIT whose answer is lost', () => {
  it.each(MOMENTS)('%s: is told as unknown without a key', async (when) => {
    strikeOnce(when);
    const write = writer(`plain ${when}`);
    await expect(pool.transaction((transaction) => write.run(transaction))).rejects.toMatchObject({
      code: 'COMMIT_UNKNOWN',
      outcome: 'unknown',
    });
    expect(write.runs).toBe(1);
  });

  it.each(MOMENTS)('%s: is resolved with a key, and its function applied once', async (when) => {
    strikeOnce(when);
    const id = `keyed ${when}`;
    const write = writer(id);
    const value = await pool.transaction((transaction) => write.run(transaction), { idempotencyKey: id });
    // Its own values come back as they were, not as JSON keeps them.
    expect(value.at).toBeInstanceOf(Date);
    expect(value.run).toBe(when === 'before' ? 2 : write.runs);
    expect(write.runs).toBe(when === 'before' ? 2 : 1);
    expect(await countOf(id)).toBe(1);
    expect(pool.stats()).toMatchObject({ unknownOutcomes: 1, resolvedOutcomes: 1 });
  });

  it('again and again is unknown after the time limit, and known to a later call', async () => {
    const patient = pool;
    pool = open({ failoverTimeoutMs: 500 });
    proxy.disturb({ when: 'answered' });
    const write = writer('in doubt');
    const call = (on: LockstepPool): Promise<{ run: number }> =>
      on.transaction((transaction) => write.run(transaction), { idempotencyKey: 'in doubt' });
    await expect(call(pool)).rejects.toMatchObject({ code: 'COMMIT_UNKNOWN', outcome: 'unknown' });
    proxy.disturb();
    expect(await call(patient)).toMatchObject({ run: 1 });
    expect(write.runs).toBe(1);
    expect(await countOf('in doubt')).toBe(1);
    await patient.end();
  });

  it('is unknown, not an error of its own, when a later attempt cannot be asked in time', async () => {
    await direct.transaction(async (transaction) => transaction.query('SELECT 1'), {
      idempotencyKey: 'warm',
    });
    await pool.end();
    pool = open({ failoverTimeoutMs: 700 });
    const holder = await direct.connect();
    try {
      await holder.query('BEGIN');
      const { rows } = await holder.query<{ pid: number }>('SELECT pg_backend_pid() AS pid');
      const failing = pool.transaction(
        async () => {
          // Whoever gets the key next stands for a server process that is stuck with it.
          void holder.query(`INSERT INTO lockstep.outcome (key, attempt) VALUES ('held', 'stuck')`);
          await untilWaiting(rows[0]?.pid ?? 0);
          strikeOnce('before');
        },
        { idempotencyKey: 'held' },
      );
      await expect(failing).rejects.toMatchObject({ code: 'COMMIT_UNKNOWN', outcome: 'unknown' });
    } finally {
      await holder.query('ROLLBACK');
      holder.release();
    }
  });
});

async function untilWaiting(pid: number): Promise<void> {
  const deadlineMs = performance.now() + 20_000;
  for (;;) {
    const { rows } = await direct.leader.query<{ wait: string | null }>(
      'SELECT wait_event_type AS wait FROM pg_stat_activity WHERE pid = $1',
      [pid],
    );
    if (rows[0]?.wait === 'Lock') return;
    if (performance.now() > deadlineMs) throw new Error(`Process ${pid} did not come to wait.`);
  }
}

describe('a key', () => {
  it('is refused in a batch for one of its statements, where nothing would come of it', async () => {
    const statement = { text: WRITE, values: ['of one'], idempotencyKey: 'of one' };
    await expect(pool.transaction([statement])).rejects.toMatchObject({ code: 'CONFIG_INVALID' });
    expect(await countOf('of one')).toBe(0);
  });

  it('runs the function of a later call no more, in whichever process, and returns the stored result', async () => {
    const write = writer('repeat');
    const first = await direct.transaction((transaction) => write.run(transaction), {
      idempotencyKey: 'repeat',
    });
    const second = await pool.transaction((transaction) => write.run(transaction), {
      idempotencyKey: 'repeat',
    });
    expect(second).toEqual(JSON.parse(JSON.stringify(first)));
    expect(write.runs).toBe(1);
    expect(await countOf('repeat')).toBe(1);
  });

  it('runs one function when several calls come at once', async () => {
    const write = writer('at once');
    const runs = await Promise.all(
      Array.from({ length: 6 }, (_, index) =>
        (index % 2 === 0 ? direct : pool).transaction((transaction) => write.run(transaction), {
          idempotencyKey: 'at once',
        }),
      ),
    );
    expect(runs.map(({ run }) => run)).toEqual([1, 1, 1, 1, 1, 1]);
    expect(await countOf('at once')).toBe(1);
  });

  it('is free again when the function fails, and its error passes', async () => {
    const refuse = pool.transaction(
      async (transaction) => {
        await transaction.query(WRITE, ['refused']);
        throw new RangeError('sold out');
      },
      { idempotencyKey: 'refused' },
    );
    await expect(refuse).rejects.toThrow(RangeError);
    expect(await countOf('refused')).toBe(0);
    const write = writer('refused');
    await pool.transaction((transaction) => write.run(transaction), { idempotencyKey: 'refused' });
    expect(write.runs).toBe(1);
  });

  it.each(['repeatable read', 'serializable'] as const)('holds under %s', async (isolation) => {
    const write = writer(isolation);
    const options = { idempotencyKey: isolation, isolation };
    await Promise.all(
      [direct, pool, direct].map((on) => on.transaction((transaction) => write.run(transaction), options)),
    );
    expect(await countOf(isolation)).toBe(1);
  });

  it('makes a single statement run once, and gives its rows to a repeat', async () => {
    strikeOnce('answered');
    const statement = { text: WRITE, values: ['statement'], idempotencyKey: 'statement' };
    const first = await pool.query<{ id: string; count: number }>(statement);
    const again = await direct.query<{ id: string; count: number }>(statement);
    expect(first).toMatchObject({ command: 'INSERT', rowCount: 1, rows: [{ id: 'statement', count: 1 }] });
    expect(again).toMatchObject({ command: 'INSERT', rowCount: 1, rows: [{ id: 'statement', count: 1 }] });
    expect(await countOf('statement')).toBe(1);
  });

  it('works in a session, whose reads see the write', async () => {
    strikeOnce('answered');
    const session = pool.session();
    const write = writer('session');
    await session.transaction((transaction) => write.run(transaction), { idempotencyKey: 'session' });
    const { rows } = await session.query(`SELECT count FROM effect WHERE id = 'session'`);
    expect(rows).toEqual([{ count: 1 }]);
    expect(session.token).not.toBeNull();
  });

  it('is refused where it cannot be kept', async () => {
    const run = (options: object): Promise<unknown> =>
      pool.transaction(async (transaction) => transaction.query('SELECT 1'), options);
    await expect(run({ idempotencyKey: '' })).rejects.toMatchObject({ code: 'CONFIG_INVALID' });
    await expect(run({ idempotencyKey: 'r', readOnly: true })).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
    });
  });

  it('is forgotten after its retention, however many there are, and no sooner', async () => {
    await direct.query({ text: 'SELECT 1', idempotencyKey: 'fresh' });
    await direct.query(`INSERT INTO lockstep.outcome (key, attempt, created_at)
      SELECT 'old ' || n, 'a', now() - interval '2 hours' FROM generate_series(1, 2500) AS n`);
    const table = new OutcomeTable(
      3_600_000,
      systemClock,
      async (text) => (await direct.leader.query(text)).rowCount ?? 0,
    );
    await table.sweep();
    const { rows } = await direct.leader.query(
      `SELECT count(*) FILTER (WHERE key LIKE 'old %')::int AS old, count(*) FILTER (WHERE key = 'fresh')::int AS fresh
       FROM lockstep.outcome`,
    );
    expect(rows).toEqual([{ old: 0, fresh: 1 }]);
  });

  it('needs a role that may create its table, and says so', async () => {
    await direct.query('DROP SCHEMA IF EXISTS lockstep CASCADE');
    const { rows } = await direct.query<{ name: string }>('SELECT current_database() AS name');
    const database = rows[0]?.name ?? '';
    await direct.query(`REVOKE CREATE ON DATABASE ${database} FROM current_user`);
    const call = (): Promise<unknown> =>
      pool.transaction(async (transaction) => transaction.query('SELECT 1'), { idempotencyKey: 'privilege' });
    try {
      const error: unknown = await call().catch((reason: unknown) => reason);
      expect(error).toBeInstanceOf(LockstepError);
      expect(error).toMatchObject({ code: 'CONFIG_INVALID', outcome: 'not-applied' });
    } finally {
      await direct.query(`GRANT CREATE ON DATABASE ${database} TO current_user`);
    }
    // Two pools at once must not stand in each other's way.
    await Promise.all([
      call(),
      direct.transaction(async (transaction) => transaction.query('SELECT 1'), { idempotencyKey: 'both' }),
    ]);
  });
});

it('runs no code of a role that made the table first', async () => {
  await direct.query('DROP SCHEMA IF EXISTS lockstep CASCADE');
  await asSuperuser(`CREATE ROLE mallory; CREATE SCHEMA lockstep AUTHORIZATION mallory;
    CREATE TABLE lockstep.outcome (key text PRIMARY KEY, attempt text NOT NULL, result json,
      repeats int NOT NULL DEFAULT 0, created_at timestamptz NOT NULL DEFAULT now());
    ALTER TABLE lockstep.outcome OWNER TO mallory;
    GRANT USAGE ON SCHEMA lockstep TO app; GRANT ALL ON lockstep.outcome TO app`);
  await using fresh = new AsyncDisposableStack();
  const other = fresh.adopt(connect(cluster.url), (opened) => opened.end());
  const call = (): Promise<unknown> =>
    other.transaction(async (transaction) => transaction.query('SELECT 1'), { idempotencyKey: 'trap' });
  try {
    await expect(call()).rejects.toMatchObject({ code: 'CONFIG_INVALID', outcome: 'not-applied' });
    await asSuperuser('ALTER SCHEMA lockstep OWNER TO CURRENT_USER');
    await expect(call()).rejects.toMatchObject({ code: 'CONFIG_INVALID', outcome: 'not-applied' });
    await asSuperuser('ALTER TABLE lockstep.outcome OWNER TO CURRENT_USER');
    await call();
  } finally {
    await asSuperuser('DROP SCHEMA lockstep CASCADE; DROP ROLE mallory');
  }
});

describe('transaction()', () => {
  it('runs again after a deadlock and a serialization failure, and takes savepoints', async () => {
    await direct.query(`INSERT INTO effect VALUES ('left', 0), ('right', 0) ON CONFLICT DO NOTHING`);
    const add = (id: string): string => `UPDATE effect SET count = count + 1 WHERE id = '${id}'`;
    let waiting = 0;
    const both = (first: string, second: string): Promise<void> => {
      let isFirstRun = true;
      return pool.transaction(async (transaction) => {
        await transaction.query(add(first));
        waiting += 1;
        while (isFirstRun && waiting < 2) await transaction.query('SELECT 1');
        isFirstRun = false;
        await transaction.query('SAVEPOINT before_error');
        await expect(transaction.query('SELECT 1 / 0')).rejects.toMatchObject({ code: '22012' });
        await transaction.query('ROLLBACK TO SAVEPOINT before_error');
        await transaction.query(add(second));
      });
    };
    await Promise.all([both('left', 'right'), both('right', 'left')]);
    expect([await countOf('left'), await countOf('right')]).toEqual([2, 2]);
    const increment = (): Promise<unknown> =>
      pool.transaction(
        async (transaction) => {
          const { rows } = await transaction.query(`SELECT count FROM effect WHERE id = 'left'`);
          await transaction.query(`UPDATE effect SET count = $1 WHERE id = 'left'`, [rows[0].count + 1]);
        },
        { isolation: 'serializable', retry: 50 } as never,
      );
    await Promise.all(Array.from({ length: 5 }, increment));
    expect(await countOf('left')).toBe(7);
  });
});

describe('without a leader', () => {
  it('a write waits until the time is up, then says that nothing was applied', async () => {
    await using nowhere = await startFaultProxy('postgresql://app@127.0.0.1:1/app');
    const lost = connect({ connectionString: nowhere.url, failoverTimeoutMs: 400 });
    try {
      const startedAtMs = performance.now();
      await expect(lost.query('INSERT INTO effect VALUES (1)')).rejects.toMatchObject({
        code: 'NO_LEADER',
        outcome: 'not-applied',
        retryable: true,
      });
      expect(performance.now() - startedAtMs).toBeGreaterThan(350);
    } finally {
      await lost.end();
    }
  });
});
