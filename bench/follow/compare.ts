import pg from 'pg';
import { setTimeout as delay } from 'node:timers/promises';
import { compareTables } from '../../src/logical/compare/compare.ts';
import type { ApplyServers, Side } from '../apply/servers.ts';
import { readCpuMs } from '../process-usage.ts';
import { FollowProcess } from './follow-process.ts';

/** As `lockstep compare` sums them up; its ranges end at such rows. */
const RANGE_ROWS = 50_000;
const PLANTED = 100;
const WRITERS = 2;
/** Between two transactions of a writer. */
const PAUSE_MS = 2;
const CPU_EVERY_MS = 200;

export interface CompareResult {
  readonly rows: number;
  readonly seconds: number;
  readonly planted: number;
  readonly found: number;
  /** Told to differ, and never did. */
  readonly wrong: number;
  /** Rows that were written whenever they were looked at. */
  readonly undecided: number;
  /** What the writers committed meanwhile. */
  readonly written: number;
  /** CPU time of its sessions at the source and at the target: what the machine's other work does not lengthen. */
  readonly cpuSeconds: readonly [number, number];
}

/**
 * Compares a table while it is written to and followed. One hundred rows were changed, removed or added at the target
 * before: the first and the last, those at both sides of ranges' borders, beyond either end, and some in between.
 */
export async function runCompare(
  servers: ApplyServers,
  rows: number,
  signal: AbortSignal,
): Promise<CompareResult> {
  const { source, target } = servers;
  const schema = `CREATE TABLE big (id bigint PRIMARY KEY, customer_id int NOT NULL, status text NOT NULL, note text, updated_at timestamptz NOT NULL)`;
  // Only even ids, so that a row can be added between any two.
  const fill = `INSERT INTO big SELECT g * 2, g % 50000, 'paid', rpad(md5(g::text), 40, 'x'), '2026-01-01' FROM generate_series(1, ${rows}) g`;
  await Promise.all([source, target].map(({ client }) => client.query(`${schema}; ${fill}`)));
  await Promise.all([source, target].map(({ client }) => client.query('VACUUM ANALYZE big')));
  const planted = plan(rows);
  await target.client.query(`UPDATE big SET status = 'wrong' WHERE id = ANY ($1)`, [planted.changed]);
  await target.client.query('DELETE FROM big WHERE id = ANY ($1)', [planted.removed]);
  await target.client.query(`INSERT INTO big SELECT unnest($1::bigint[]), 1, 'extra', 'x', '2026-01-01'`, [
    planted.added,
  ]);
  const wanted = new Set([
    ...planted.changed.map((id) => `different ${id}`),
    ...planted.removed.map((id) => `missing ${id}`),
    ...planted.added.map((id) => `extra ${id}`),
  ]);
  await using follow = await FollowProcess.start(servers, 'big', ['big']);
  await follow.caughtUp(signal);
  const writers = new Writers(source.url, rows, [...planted.changed, ...planted.removed]);
  const cpus = [source, target].map((side) => new SessionsCpu(side));
  try {
    const startedAtMs = performance.now();
    const [result] = await compareTables({
      from: source.url,
      to: target.url,
      tables: [{ schema: 'public', name: 'big' }],
      follow: 'big',
      repairs: false,
      signal,
    });
    const seconds = (performance.now() - startedAtMs) / 1_000;
    const cpuSeconds = cpus.map((cpu) => cpu.stop() / 1_000) as [number, number];
    const told = new Set(result?.differences.map(({ kind, key }) => `${kind} ${key.join()}`));
    return {
      rows,
      seconds,
      planted: wanted.size,
      found: [...wanted].filter((each) => told.has(each)).length,
      wrong: [...told].filter((each) => !wanted.has(each)).length,
      undecided: result?.undecided ?? 0,
      written: await writers.stop(),
      cpuSeconds,
    };
  } finally {
    for (const cpu of cpus) cpu.stop();
    await writers.stop();
  }
}

/** The CPU time of one server's sessions of the comparison, until shortly before they end. */
class SessionsCpu {
  readonly #timer: NodeJS.Timeout;
  readonly #byPid = new Map<number, number>();

  constructor({ client }: Side) {
    let isAsking = false;
    const look = async (): Promise<void> => {
      if (isAsking) return;
      isAsking = true;
      const { rows } = await client.query<{ pid: number }>(
        `SELECT pid FROM pg_stat_activity WHERE application_name = 'lockstep compare'`,
      );
      for (const { pid } of rows) this.#byPid.set(pid, Math.max(readCpuMs([pid]), this.#byPid.get(pid) ?? 0));
      isAsking = false;
    };
    this.#timer = setInterval(() => void look().catch(() => undefined), CPU_EVERY_MS);
  }

  /** Gives milliseconds. */
  stop(): number {
    clearInterval(this.#timer);
    return [...this.#byPid.values()].reduce((sum, each) => sum + each, 0);
  }
}

function plan(rows: number): { changed: number[]; removed: number[]; added: number[] } {
  const borders = Array.from({ length: 12 }, (_, index) => (index + 1) * RANGE_ROWS).filter(
    (at) => at < rows,
  );
  const changed = new Set([2, 2 * rows, ...borders.flatMap((at) => [2 * at, 2 * (at + 1)])]);
  const removed = new Set(borders.slice(6).map((at) => 2 * (at + 2)));
  const added = new Set([
    -1,
    1,
    2 * rows + 1,
    2 * rows + 101,
    ...borders.flatMap((at) => [2 * at - 1, 2 * at + 1]),
  ]);
  for (let at = 1; changed.size + removed.size + added.size < PLANTED; at++) {
    const id = 2 * Math.floor((at * 7_919 * rows) / 1_000_003 + 3);
    const row = id % (2 * rows);
    if (at % 2 === 0 && !removed.has(row)) changed.add(row);
    else if (!changed.has(row)) removed.add(row);
  }
  return { changed: [...changed], removed: [...removed], added: [...added] };
}

/** Update, insert and delete rows at the source, but for some. */
class Writers {
  readonly #writing: Promise<number>[];
  #isStopped = false;

  constructor(url: string, rows: number, spared: readonly number[]) {
    this.#writing = Array.from({ length: WRITERS }, (_, index) => this.#write(url, rows, spared, index));
  }

  /** Gives how many transactions they committed. */
  async stop(): Promise<number> {
    this.#isStopped = true;
    return (await Promise.all(this.#writing)).reduce((sum, count) => sum + count, 0);
  }

  async #write(url: string, rows: number, spared: readonly number[], index: number): Promise<number> {
    const client = new pg.Client({ connectionString: url });
    await client.connect();
    let count = 0;
    try {
      for (; !this.#isStopped; count++) {
        const fresh = 2 * rows + 1_000_000 + count * WRITERS + index;
        await client.query(
          `WITH new AS (INSERT INTO big VALUES ($1, 1, 'new', 'n', now())),
                gone AS (DELETE FROM big WHERE id = $2),
                old AS (UPDATE big SET status = 'moved', updated_at = now()
                         WHERE id = ANY (ARRAY(SELECT 2 * (1 + floor(random() * ${rows}))::bigint FROM generate_series(1, 3)))
                           AND id <> ALL ($3))
           SELECT`,
          [fresh, fresh - 50 * WRITERS, spared],
        );
        await delay(PAUSE_MS);
      }
      return count;
    } finally {
      await client.end();
    }
  }
}
