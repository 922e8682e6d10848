import { setTimeout as delay } from 'node:timers/promises';
import type pg from 'pg';
import { LockstepError } from '../../model/errors.ts';
import { Catalog } from '../apply/catalog.ts';
import { roleStatement } from '../apply/core/owners.ts';
import { hasOwnSchema, OWN_SCHEMA } from '../apply/own-schema.ts';
import { connectToLeader } from '../endpoints.ts';
import { readTables } from '../tables.ts';
import type { TableName } from '../tables.ts';
import { LET_READ_VIEWS, readOnlyTables } from '../../wire/only-tables.ts';
import { CompareSql } from './core/compare-sql.ts';
import type { Key, KeyRange } from './core/compare-sql.ts';
import { countRows, differingBuckets, judge, nameOf, suspects } from './core/difference.ts';
import type { BucketSums, Difference, RowHashes } from './core/difference.ts';
import { prepareReading } from './prepare-reading.ts';

const RANGE_ROWS = 50_000;
const KEYS_AT_ONCE = 1_000;
const RECHECKS = 10;
const RECHECK_MS = 200;
const CATCH_UP_MS = 60_000;

export interface CompareOptions {
  readonly from: string;
  readonly to: string;
  readonly tables: readonly TableName[];
  /** The follow between the two, which is waited for; without one, rows are only looked at again. */
  readonly follow: string;
  /** Makes the target's rows those of the source. */
  readonly repairs: boolean;
  /** Rows that are summed up at once. Default 50,000. */
  readonly rangeRows?: number;
  readonly onProgress?: (table: string, rows: number) => void;
  readonly signal?: AbortSignal;
}

export interface TableComparison {
  readonly table: string;
  /** As the source has them. */
  readonly rows: number;
  readonly differences: readonly Difference[];
  /** Rows that were written whenever they were looked at. */
  readonly undecided: number;
  readonly repaired: number;
}

/** The two ends of a comparison. */
interface Ends {
  readonly source: pg.Client;
  readonly target: pg.Client;
  /** Whether follows write to the target, or did. */
  readonly hasFollows: boolean;
}

/**
 * Compares tables while both are written to: sums over ranges of keys, then the rows of ranges that differ, then
 * each suspect once more when the target has caught up. What is told to differ has differed while nobody changed it.
 * Throws SCHEMA_MISFIT for a table that does not fit, and PostgreSQL's own errors.
 */
export async function compareTables(options: CompareOptions): Promise<TableComparison[]> {
  const login = { applicationName: 'lockstep compare' };
  const source = await connectToLeader(options.from, login);
  try {
    const target = await connectToLeader(options.to, login);
    try {
      for (const client of [source, target]) await prepareReading(client);
      const hasFollows = await hasOwnSchema(target);
      const catalog = new Catalog(source, target);
      const results: TableComparison[] = [];
      for (const relation of await readTables(source, options.tables)) {
        const result = await catalog.plan(relation, 'text');
        if (result.kind !== 'plan') {
          const why =
            result.kind === 'misfit' ? result.sentence : `Table ${relation.name} cannot be compared.`;
          throw new LockstepError('SCHEMA_MISFIT', why);
        }
        const name = `${relation.schema}.${relation.name}`;
        results.push(
          await new TableCompare(
            { source, target, hasFollows },
            new CompareSql(result.plan),
            name,
            options,
          ).run(),
        );
      }
      return results;
    } finally {
      await target.end();
    }
  } finally {
    await source.end();
  }
}

class TableCompare {
  readonly #ends: Ends;
  readonly #sql: CompareSql;
  readonly #table: string;
  readonly #options: CompareOptions;
  readonly #differences: Difference[] = [];
  #rows = 0;
  #undecided = 0;
  #repaired = 0;

  constructor(ends: Ends, sql: CompareSql, table: string, options: CompareOptions) {
    this.#ends = ends;
    this.#sql = sql;
    this.#table = table;
    this.#options = options;
  }

  async run(): Promise<TableComparison> {
    if (!this.#sql.hasKey) {
      throw new LockstepError(
        'SCHEMA_MISFIT',
        `Table ${this.#table} has no key by which its rows could be told apart; give it one to compare it.`,
      );
    }
    // Few differ in most ranges, and a second look waits for the follow: those of several ranges are looked at together.
    const suspected: Key[] = [];
    let after: Key | null = null;
    for (;;) {
      this.#options.signal?.throwIfAborted();
      const upTo: Key | null = await this.#boundary(after);
      suspected.push(...(await this.#compareRange({ after, upTo })));
      while (suspected.length >= (upTo === null ? 1 : KEYS_AT_ONCE))
        await this.#recheck(suspected.splice(0, KEYS_AT_ONCE));
      this.#options.onProgress?.(this.#table, this.#rows);
      if (upTo === null) break;
      after = upTo;
    }
    return {
      table: this.#table,
      rows: this.#rows,
      differences: this.#differences,
      undecided: this.#undecided,
      repaired: this.#repaired,
    };
  }

  async #boundary(after: Key | null): Promise<Key | null> {
    const { text, values } = this.#sql.boundary(after, this.#options.rangeRows ?? RANGE_ROWS);
    const { rows } = await this.#ends.source.query<{ key: string[] }>(text, [...values]);
    return rows[0]?.key ?? null;
  }

  /** Gives the keys of rows that seem to differ. */
  async #compareRange(range: KeyRange): Promise<Key[]> {
    const { text, values } = this.#sql.sums(range);
    const ask = async (client: pg.Client): Promise<BucketSums[]> =>
      (await client.query<BucketSums>(text, [...values])).rows;
    const [here, there] = await Promise.all([ask(this.#ends.source), ask(this.#ends.target)]);
    this.#rows += countRows(here);
    const buckets = differingBuckets(here, there);
    if (buckets.length === 0) return [];
    const [source, target] = await Promise.all([
      this.#hashes(this.#ends.source, range, buckets),
      this.#hashes(this.#ends.target, range, buckets),
    ]);
    return suspects(source, target);
  }

  async #hashes(client: pg.Client, range: KeyRange, buckets: readonly number[]): Promise<RowHashes> {
    const { text, values } = this.#sql.rows(range, buckets);
    const { rows } = await client.query<{ key: string[]; hash: string }>(text, [...values]);
    return new Map(rows.map((row) => [nameOf(row.key), row]));
  }

  /** Looks again until each row is the same, or differs while nobody writes it. */
  async #recheck(suspected: readonly Key[]): Promise<void> {
    let keys = suspected;
    for (let turn = 0; turn < RECHECKS && keys.length > 0; turn++) {
      if (turn > 0) await delay(RECHECK_MS);
      const before = await this.#byKeys(this.#ends.source, keys);
      await this.#untilCaughtUp();
      const target = await this.#byKeys(this.#ends.target, keys);
      const after = await this.#byKeys(this.#ends.source, keys);
      const found: { difference: Difference; hash: string | null }[] = [];
      const changing: Key[] = [];
      for (const [index, key] of keys.entries()) {
        const verdict = judge(before[index] ?? null, target[index] ?? null, after[index] ?? null);
        if (verdict === 'changing') changing.push(key);
        else if (verdict !== 'same')
          found.push({ difference: { kind: verdict, key }, hash: after[index] ?? null });
      }
      this.#differences.push(...found.map(({ difference }) => difference));
      if (this.#options.repairs && found.length > 0) await this.#repair(found);
      keys = changing;
    }
    this.#undecided += keys.length;
  }

  async #byKeys(client: pg.Client, keys: readonly Key[]): Promise<(string | undefined)[]> {
    const { text, values } = this.#sql.byKeys(keys);
    const { rows } = await client.query<{ n: number; hash: string }>(text, [...values]);
    const hashes: (string | undefined)[] = keys.map(() => undefined);
    for (const { n, hash } of rows) hashes[n - 1] = hash;
    return hashes;
  }

  /** Until the target's follow has everything that the source has now. */
  async #untilCaughtUp(): Promise<void> {
    const { source, target, hasFollows } = this.#ends;
    if (!hasFollows) return delay(RECHECK_MS);
    const position = async (): Promise<string | undefined> =>
      (
        await target.query<{ position: string }>(
          `SELECT position::text FROM ${OWN_SCHEMA}.follow WHERE name = $1`,
          [this.#options.follow],
        )
      ).rows[0]?.position;
    if ((await position()) === undefined) return delay(RECHECK_MS);
    // The follow moves past it like past a change, also when nobody else writes.
    const { rows } = await source.query<{ lsn: string }>(
      `SELECT pg_logical_emit_message(true, 'lockstep.compare', '')::text AS lsn`,
    );
    const deadlineMs = performance.now() + CATCH_UP_MS;
    for (;;) {
      const reached = await target.query<{ reached: boolean }>(
        `SELECT position >= $2::pg_lsn AS reached FROM ${OWN_SCHEMA}.follow WHERE name = $1`,
        [this.#options.follow, rows[0]?.lsn],
      );
      if (reached.rows[0]?.reached !== false) return;
      if (performance.now() > deadlineMs) {
        throw new LockstepError(
          'LAG_EXCEEDED',
          `Let follow "${this.#options.follow}" run while you compare: it has not caught up in ${CATCH_UP_MS / 1_000} s.`,
          { retryable: true },
        );
      }
      await delay(20);
    }
  }

  /** Writes the source's rows, while the follow stands still; rows that were changed since are left to it. */
  async #repair(
    found: readonly { readonly difference: Difference; readonly hash: string | null }[],
  ): Promise<void> {
    const { source, target, hasFollows } = this.#ends;
    await target.query('BEGIN');
    try {
      await target.query('SAVEPOINT role');
      await target
        .query('SET LOCAL session_replication_role = replica')
        .catch(() => target.query('ROLLBACK TO role'));
      if (hasFollows) {
        await target.query(`SELECT FROM ${OWN_SCHEMA}.follow WHERE name = $1 FOR UPDATE`, [
          this.#options.follow,
        ]);
      }
      const now = await this.#byKeys(
        source,
        found.map(({ difference }) => difference.key),
      );
      const keys = found
        .filter(({ hash }, index) => (now[index] ?? null) === hash)
        .map(({ difference }) => difference.key);
      if (keys.length > 0) {
        const read = this.#sql.read(keys);
        const { rows } = await source.query<{ row: (string | null)[] }>(read.text, [...read.values]);
        if (this.#sql.owner !== null)
          await target.query(`${roleStatement(this.#sql.owner).text}; ${LET_READ_VIEWS}`);
        const remove = this.#sql.remove(keys);
        await target.query(remove.text, [...remove.values]);
        if (rows.length > 0) {
          const insert = this.#sql.insert(rows.map(({ row }) => row));
          await target.query(insert.text, [...insert.values]);
        }
        this.#repaired += keys.length;
      }
      await target.query('COMMIT');
      // The owner's code may have set it otherwise for the session.
      await readOnlyTables(target);
    } catch (error) {
      await target.query('ROLLBACK').catch(() => undefined);
      throw error;
    }
  }
}
