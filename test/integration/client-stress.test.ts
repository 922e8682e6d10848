import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import type pg from 'pg';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { systemClock } from '../../src/clock/system-clock.ts';
import { signalProcessTree } from '../../src/cli/dev/process-tree.ts';
import { Classifier } from '../../src/client/classify/classifier.ts';
import { SessionState } from '../../src/client/session/session-state.ts';
import { connect, LockstepError } from '../../src/index.ts';
import type { LockstepOptions, LockstepPool } from '../../src/index.ts';
import { parseLsn } from '../../src/model/lsn.ts';
import { formatSessionToken } from '../../src/model/token.ts';
import { parseTimeline } from '../../src/model/timeline.ts';
import { findPostgres } from '../../src/postgres/binaries.ts';
import type { PostgresServer } from '../../src/postgres/server.ts';
import { freePort, ServerFixture } from './fixture.ts';

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

/** What is left on the heap after `work`, in megabytes. */
async function heapGrowth(work: () => Promise<void> | void): Promise<number> {
  collectGarbage();
  const before = process.memoryUsage().heapUsed;
  await work();
  collectGarbage();
  return (process.memoryUsage().heapUsed - before) / 2 ** 20;
}

const PASSWORD = 'app-password';

let fixture: ServerFixture;
let server: PostgresServer;
let port: number;
let admin: pg.Client;
const pools: LockstepPool[] = [];

beforeAll(async () => {
  fixture = await ServerFixture.create(await findPostgres('system').catch(() => findPostgres('embedded')));
  port = await freePort();
  await fixture.initialize('a');
  server = await fixture.start('a', port);
  await server.promote(20_000);
  admin = await server.connect();
  await admin.query(`CREATE ROLE app LOGIN PASSWORD '${PASSWORD}'`);
  await admin.query('CREATE TABLE public.item (id int PRIMARY KEY)');
  await admin.query('GRANT ALL ON public.item TO app');
});

afterEach(async () => {
  await Promise.all(pools.splice(0).map((pool) => pool.end()));
});

afterAll(async () => {
  await admin?.end();
  await fixture?.[Symbol.asyncDispose]();
});

function open(over: LockstepOptions = {}): LockstepPool {
  const hosts = [{ host: '127.0.0.1', port }];
  const pool = connect({ hosts, user: 'app', password: PASSWORD, database: 'postgres', ...over });
  pools.push(pool);
  return pool;
}

/** Runs `work` for 0 … count - 1, so many at a time. */
async function inParallel(
  count: number,
  workers: number,
  work: (index: number) => Promise<unknown>,
): Promise<void> {
  let next = 0;
  const run = async (): Promise<void> => {
    while (next < count) await work((next += 1) - 1);
  };
  await Promise.all(Array.from({ length: workers }, run));
}

describe('distinct texts', () => {
  it('a million of them leave a bounded cache', async () => {
    const classifier = new Classifier(systemClock);
    const grown = await heapGrowth(() => {
      for (let index = 0; index < 1_000_000; index += 1) {
        classifier.classify(`SELECT id, name FROM products WHERE id = ${index} /* page ${index} */`);
      }
    });
    classifier.close();
    expect(grown).toBeLessThan(30);
  });

  it('twenty thousand on a server, prepared or not, leave both sides’ memory bounded', async () => {
    const pool = open({ max: 2 });
    const config = (index: number): pg.QueryConfig =>
      index % 2 === 0
        ? { text: `SELECT ${index} AS n` }
        : { name: `q${index}`, text: `SELECT ${index} + $1::int AS n`, values: [0] };
    let largest = 0;
    const ask = async (index: number): Promise<void> => {
      const { rows } = await pool.query(config(index));
      if (rows[0].n !== index) throw new Error(`${index} was answered with ${rows[0].n}`);
      if (index % 500 !== 0) return;
      const { rows: known } = await pool.query('SELECT count(*)::int AS n FROM pg_prepared_statements');
      largest = Math.max(largest, known[0].n);
    };
    const grown = await heapGrowth(() => inParallel(20_000, 2, ask));
    expect(largest).toBeLessThan(1100);
    expect(grown).toBeLessThan(20);
    // What was given up is prepared again.
    await ask(1);
  });
});

describe('sessions', () => {
  it('a million of them leave nothing behind', async () => {
    const pool = open();
    const timeline = parseTimeline(1);
    const grown = await heapGrowth(() => {
      for (let index = 0; index < 1_000_000; index += 1) {
        const state = new SessionState();
        state.advance({ timeline, lsn: parseLsn(`0/${(index + 1).toString(16)}`) }, index);
        state.readOnFollower('follower', { timeline, lsn: parseLsn('1/0') }, index);
        const token = state.handover === null ? '' : formatSessionToken(state.handover);
        if (pool.session({ token }).token !== token) throw new Error(`${token} became another`);
      }
    });
    expect(grown).toBeLessThan(10);
  });

  it('thousands on a server leave nothing behind', async () => {
    const pool = open({ max: 4 });
    await pool.query('SELECT 1');
    const grown = await heapGrowth(() =>
      inParallel(3000, 8, async (index) => {
        const session = pool.session();
        await session.query('INSERT INTO item VALUES ($1)', [index]);
        const { rows } = await session.query('SELECT id FROM item WHERE id = $1', [index]);
        if (rows.length !== 1) throw new Error('stale');
      }),
    );
    expect(grown).toBeLessThan(10);
  });
});

describe('ten thousand queries on four connections', () => {
  const count = 10_000;

  it('are all answered in their order', async () => {
    const pool = open({ max: 4 });
    const answered: number[] = [];
    const ask = async (index: number): Promise<void> => {
      const { rows } = await pool.query('SELECT $1::int AS n', [index]);
      answered.push(rows[0].n);
    };
    const grown = await heapGrowth(async () => {
      await Promise.all(Array.from({ length: count }, (_, index) => ask(index)));
    });
    expect(answered).toHaveLength(count);
    // A single one may be late, because its connection is opened or its server process waits for a CPU.
    const shifts = answered.map((n, position) => Math.abs(n - position)).toSorted((a, b) => a - b);
    expect(shifts[Math.floor(count * 0.99)]).toBeLessThan(100);
    expect(grown).toBeLessThan(10);
  });

  it('are all refused in time when the server hangs, and the pool goes on when it wakes', async () => {
    const pool = open({ max: 4, failoverTimeoutMs: 3000 });
    await pool.query('SELECT 1');
    await signalProcessTree(server.pid ?? 0, 'SIGSTOP');
    const startedAtMs = performance.now();
    const codes = new Map<string, number>();
    try {
      const ask = async (index: number): Promise<void> => {
        const text = index % 2 === 0 ? 'SELECT 1' : 'DELETE FROM item WHERE id = -1';
        const code = await pool.query(text).then(
          () => 'none',
          (error: unknown) =>
            error instanceof LockstepError ? `${error.code} ${error.outcome}` : String(error),
        );
        codes.set(code, (codes.get(code) ?? 0) + 1);
      };
      await Promise.all(Array.from({ length: count }, (_, index) => ask(index)));
    } finally {
      await signalProcessTree(server.pid ?? 0, 'SIGCONT');
    }
    expect(performance.now() - startedAtMs).toBeLessThan(15_000);
    const unknown = codes.get('COMMIT_UNKNOWN unknown') ?? 0;
    expect(unknown).toBeLessThanOrEqual(4);
    expect(codes.get('NO_LEADER not-applied')).toBe(count - unknown);
    expect((await pool.query('SELECT 1 AS n')).rows).toEqual([{ n: 1 }]);
    expect(pool.waitingCount).toBe(0);
  }, 60_000);
});
