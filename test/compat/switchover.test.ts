import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { connect } from '../../src/index.ts';
import type { LockstepPool } from '../../src/index.ts';
import { startTestCluster } from '../../src/testing/index.ts';
import type { TestCluster } from '../../src/testing/index.ts';
import { until } from '../integration/fixture.ts';
import { WRITING_LIBRARIES } from './own-write-libraries.ts';
import type { WritingLibrary } from './own-write-libraries.ts';
import { Recipes } from './recipes.ts';

/** `LOCKSTEP_SWITCHOVERS=50` for a long look. */
const SWITCHOVERS = Number(process.env['LOCKSTEP_SWITCHOVERS'] ?? 3);

/** On a busy machine a transaction of a tenth of a second may take longer than the default of a second. */
const WAIT_MS = 10_000;

let cluster: TestCluster;
let recipes: Recipes;
let pool: LockstepPool;

beforeAll(async () => {
  [cluster, recipes] = await Promise.all([startTestCluster({ switchoverWaitMs: WAIT_MS }), Recipes.write()]);
  pool = connect(cluster.url);
  await pool.query('CREATE TABLE pieces (name text PRIMARY KEY, stock integer NOT NULL)');
  const table = createRequire(import.meta.url).resolve('connect-pg-simple/table.sql');
  await pool.query(await readFile(table, 'utf8'));
});

afterAll(async () => {
  await pool?.end();
  await recipes?.[Symbol.asyncDispose]();
  await cluster?.[Symbol.asyncDispose]();
});

/** Writes, reads back, and moves in transactions, one after the other; what it is told is wrong stays. */
class Writer {
  readonly name: string;
  readonly #library: WritingLibrary;
  readonly errors: string[] = [];
  done = 0;

  constructor(name: string, library: WritingLibrary) {
    this.name = name;
    this.#library = library;
  }

  async work(signal: AbortSignal): Promise<void> {
    const { move } = this.#library;
    await this.#library.write(`${this.name} out`, 1);
    await this.#library.write(`${this.name} in`, 1);
    for (let count = 2; !signal.aborted; count += 1) {
      try {
        await this.#library.write(this.name, count === 2 ? 1 : count);
        const read = await this.#library.read(this.name);
        if (read !== count && count !== 2) this.errors.push(`read ${read} instead of ${count}`);
        await move?.(`${this.name} out`, `${this.name} in`);
        this.done += 1;
      } catch (error) {
        this.errors.push(describe(error));
      }
    }
  }
}

function describe(error: unknown): string {
  const { code, message, cause } = error as { code?: string; message?: string; cause?: unknown };
  return `${code ?? ''} ${message ?? ''}${cause === undefined ? '' : ` (${describe(cause)})`}`;
}

/** A transaction that is open for longer than a statement takes, so that each switchover meets one. */
function slowTransactions(own: LockstepPool): WritingLibrary {
  const write = async (name: string, stock: number): Promise<void> => {
    const client = await own.connect();
    try {
      await client.query('BEGIN');
      await client.query('INSERT INTO pieces VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET stock = $2', [
        name,
        stock,
      ]);
      await client.query('SELECT pg_sleep(0.1)');
      await client.query('COMMIT');
    } finally {
      client.release();
    }
  };
  const read = async (name: string): Promise<number | undefined> => {
    const { rows } = await own.query<{ stock: number }>('SELECT stock FROM pieces WHERE name = $1', [name]);
    return rows[0]?.stock;
  };
  return { pool: own, write, read, close: () => Promise.resolve() };
}

/** What the agents said of the switchovers, for a failure's report. */
async function switchoverEvents(): Promise<string> {
  const logs = cluster.nodes.map(({ folder }) => readFile(join(folder, 'agent.log'), 'utf8'));
  const lines = (await Promise.all(logs)).flatMap((text) => text.split('\n'));
  return lines.filter((line) => line.includes('switchover')).join('\n');
}

it(
  `tells none of eight writers of ${SWITCHOVERS} switchovers`,
  { timeout: 60_000 + SWITCHOVERS * 20_000 },
  async () => {
    const libraries = new Map<string, WritingLibrary>([['pool.connect', slowTransactions(pool)]]);
    for (const [name, open] of Object.entries(WRITING_LIBRARIES))
      libraries.set(name, await open({ recipes, url: cluster.url }));
    const writers = [...libraries].map(([name, library]) => new Writer(name, library));
    const stop = new AbortController();
    const working = Promise.all(writers.map((writer) => writer.work(stop.signal)));
    const pausesMs: number[] = [];
    try {
      for (let round = 0; round < SWITCHOVERS; round += 1) {
        const before = writers.map(({ done }) => done);
        await until(
          'work by everyone',
          () => writers.every(({ done }, index) => done > (before[index] ?? 0) + 2),
          60_000,
        );
        await cluster.untilWhole(60_000);
        pausesMs.push((await cluster.switchover()).pausedMs);
      }
      const before = writers.map(({ done }) => done);
      await until(
        'work by everyone',
        () => writers.every(({ done }, index) => done > (before[index] ?? 0)),
        60_000,
      );
    } finally {
      stop.abort();
      await working;
      for (const library of libraries.values()) await library.close();
    }
    const told = await switchoverEvents();
    const sorted = pausesMs.toSorted((a, b) => a - b);
    const done = writers.reduce((sum, writer) => sum + writer.done, 0);
    console.log(
      `${SWITCHOVERS} switchovers, ${done} rounds of eight writers, writes paused for ${sorted[Math.floor(sorted.length / 2)]} ms (median), ${sorted.at(-1)} ms (longest)`,
    );
    expect(
      writers.flatMap(({ name, errors }) => errors.map((error) => `${name}: ${error}`)),
      told,
    ).toEqual([]);
  },
);
