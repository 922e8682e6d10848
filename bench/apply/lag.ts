import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import { percentile } from '../statistics.ts';
import { applyWithLockstep } from './appliers.ts';
import { LOADS } from './loads.ts';
import type { ApplyServers, Side } from './servers.ts';

const WRITERS = 4;
const EVERY_MS = 20;
const WARM_UP_MS = 2_000;
const POLL_MS = 1;

export interface LagResult {
  /** From shortly before a commit at the source until it is seen at the target. */
  readonly p99Ms: number;
  readonly samples: number;
  /** What the writers got done. */
  readonly transactionsPerSecond: number;
}

/**
 * Several writers commit single-row updates at the source at a steady rate while a follow applies them to a target that is
 * reached by `targetUrl`. Each writer ends its burst with a beat, whose age is taken when it is first seen at the target.
 */
export async function measureLag(
  servers: ApplyServers,
  options: {
    readonly targetUrl: string;
    readonly transactionsPerSecond: number;
    readonly seconds: number;
    readonly signal: AbortSignal;
  },
): Promise<LagResult> {
  await servers.prepare(LOADS.lag, 0);
  let result: LagResult | null = null;
  const { difference } = await applyWithLockstep(servers, LOADS.lag, {
    isSynchronous: false,
    targetUrl: options.targetUrl,
    signal: options.signal,
    whileFollowing: async () => {
      const watch = new BeatWatch(servers.target);
      try {
        const transactionsPerSecond = await write(servers.source, options);
        await watch.untilSeen(servers.source, options.signal);
        const ages = watch.ages.toSorted((a, b) => a - b);
        result = { p99Ms: percentile(ages, 0.99), samples: ages.length, transactionsPerSecond };
      } finally {
        await watch.stop();
      }
    },
  });
  if (difference !== null || result === null) throw new Error(`lag: the target has ${difference}.`);
  return result;
}

/** Gives how many transactions a second were committed. */
async function write(
  { url }: Side,
  {
    transactionsPerSecond,
    seconds,
    signal,
  }: { readonly transactionsPerSecond: number; readonly seconds: number; readonly signal: AbortSignal },
): Promise<number> {
  const burst = Math.round((transactionsPerSecond * EVERY_MS) / 1_000 / WRITERS);
  const totals = await Promise.all(
    Array.from({ length: WRITERS }, async (_, writer) => {
      const client = new pg.Client({ connectionString: url });
      await client.connect();
      try {
        await client.query('SET synchronous_commit = off');
        const startedAtMs = performance.now() + (writer * EVERY_MS) / WRITERS;
        let bursts = 0;
        for (; performance.now() < startedAtMs + WARM_UP_MS + seconds * 1_000; bursts++) {
          signal.throwIfAborted();
          const dueInMs = startedAtMs + bursts * EVERY_MS - performance.now();
          if (dueInMs > 0) await delay(dueInMs);
          await client.query(`DO $$ BEGIN FOR i IN 1..${burst - 1} LOOP
            UPDATE t_lag SET customer_id = customer_id + 1, updated_at = now() WHERE id = 1 + (i * 7 + ${bursts * burst}) % 1000 * ${WRITERS} + ${writer}; COMMIT; END LOOP;
            UPDATE t_beats SET at = clock_timestamp(), is_measured = ${bursts * EVERY_MS >= WARM_UP_MS} WHERE id = ${writer}; END $$`);
        }
        return (bursts * burst) / ((performance.now() - startedAtMs) / 1_000);
      } finally {
        await client.end();
      }
    }),
  );
  return totals.reduce((sum, each) => sum + each, 0);
}

/** Looks for beats at the target all the time. */
class BeatWatch {
  readonly ages: number[] = [];
  readonly #seen = new Map<number, string>();
  readonly #watching: Promise<void>;
  #isStopped = false;

  constructor(target: Side) {
    this.#watching = this.#watch(target);
    this.#watching.catch(() => undefined);
  }

  /** Resolves when the target has every writer's last beat. */
  async untilSeen({ client }: Side, signal: AbortSignal): Promise<void> {
    const { rows } = await client.query<{ id: number; at: string }>(
      'SELECT id, at::text FROM t_beats ORDER BY id',
    );
    while (rows.some(({ id, at }) => this.#seen.get(id) !== at)) {
      signal.throwIfAborted();
      await Promise.race([delay(10), this.#watching]);
    }
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    await this.#watching;
  }

  async #watch({ url }: Side): Promise<void> {
    const client = new pg.Client({ connectionString: url });
    await client.connect();
    try {
      while (!this.#isStopped) {
        const { rows } = await client.query<{ id: number; at: string; age: number; is_measured: boolean }>(
          `SELECT id, at::text, is_measured, extract(epoch FROM clock_timestamp() - at)::float8 * 1000 AS age FROM t_beats`,
        );
        for (const { id, at, age, is_measured: isMeasured } of rows) {
          const before = this.#seen.get(id);
          this.#seen.set(id, at);
          if (before !== undefined && before !== at && isMeasured) this.ages.push(age);
        }
        await delay(POLL_MS);
      }
    } finally {
      await client.end();
    }
  }
}
