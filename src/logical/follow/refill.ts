import type pg from 'pg';
import { RawClient } from '../../wire/raw/raw-client.ts';
import type { Catalog } from '../apply/catalog.ts';
import { roleStatement } from '../apply/core/owners.ts';
import { MisfitError } from '../apply/trouble.ts';
import { CompareSql } from '../compare/core/compare-sql.ts';
import type { Key, KeyRange } from '../compare/core/compare-sql.ts';
import { countRows, differingBuckets, nameOf, suspects } from '../compare/core/difference.ts';
import type { BucketSums, RowHashes } from '../compare/core/difference.ts';
import { prepareReading } from '../compare/prepare-reading.ts';
import { quoteLiteral } from '../core/quote.ts';
import { connectToLeader } from '../endpoints.ts';
import { runAsOwner } from './empty-tables.ts';
import { copyWhole, markCopied, openLink } from './initial-copy.ts';
import type { CopyLink, CopyOptions, CopyTask } from './initial-copy.ts';

const RANGE_ROWS = 50_000;
const KEYS_AT_ONCE = 1_000;
const UNIQUE_VIOLATION = '23505';

/** A refill's connections: the source's see one snapshot, and nobody else writes the target's tables. */
interface RefillEnds {
  readonly link: CopyLink;
  readonly source: pg.Client;
  readonly target: pg.Client;
}

/**
 * Makes tables of the target what they were at the source in a snapshot, by bringing only what differs: sums over ranges
 * of keys, then the rows of ranges that differ; ranges that the target lacks are copied. What it did before it was
 * interrupted need not be done again. Tables without a key are copied anew.
 */
export async function refillTables(options: CopyOptions, catalog: Catalog): Promise<void> {
  if (options.tasks.length === 0) return;
  await using link = await openLink(options);
  const login = { applicationName: `lockstep follow ${options.follow} refill` };
  const source = await connectToLeader(options.from, login);
  try {
    await source.query('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY');
    await source.query(`SET TRANSACTION SNAPSHOT ${quoteLiteral(options.snapshot)}`);
    const target = await connectToLeader(options.to, login);
    try {
      for (const client of [source, target]) await prepareReading(client);
      await target.query('SET session_replication_role = replica').catch(() => undefined);
      for (const task of options.tasks) {
        options.signal.throwIfAborted();
        await refillTable(task, { link, source, target }, options, catalog);
      }
    } finally {
      await target.end();
    }
  } finally {
    await source.end();
  }
}

async function refillTable(
  task: CopyTask,
  ends: RefillEnds,
  options: CopyOptions,
  catalog: Catalog,
): Promise<void> {
  const { relation } = task.table;
  const result = await catalog.plan(relation, 'text');
  if (result.kind === 'misfit') throw new MisfitError(result.sentence);
  const sql = result.kind === 'plan' ? new CompareSql(result.plan) : null;
  // A filter or a computed column at the source is not the target's, so that sums over both say nothing.
  const isPlain = task.table.rowFilter === null && !task.table.hasGenerated;
  if (sql?.hasKey !== true || !isPlain) {
    await runAsOwner(ends.target, task.plan.owner, `TRUNCATE ${task.plan.table}`);
    await copyWhole(task, ends.link, options);
    return;
  }
  const lacking: KeyRange[] = [];
  let rows = 0;
  for (let after: Key | null = null; ;) {
    options.signal.throwIfAborted();
    const { text, values } = sql.boundary(after, RANGE_ROWS);
    const found: { rows: { key: string[] }[] } = await ends.source.query(text, [...values]);
    const upTo: Key | null = found.rows[0]?.key ?? null;
    const sums = await compareRange(sql, { after, upTo }, ends);
    rows += sums.rows;
    if (!sums.isSame) lacking.push({ after, upTo });
    if (upTo === null) break;
    after = upTo;
  }
  // All that goes before anything comes: a value that only one row may have is free by then.
  for (const range of lacking) await removeWrong(sql, range, ends);
  for (const range of lacking) await addMissing(task, sql, range, ends, options);
  await markCopied(ends.link.target, task, rows, options);
}

async function compareRange(
  sql: CompareSql,
  range: KeyRange,
  ends: RefillEnds,
): Promise<{ readonly rows: number; readonly isSame: boolean }> {
  const { text, values } = sql.sums(range);
  const ask = async (client: pg.Client): Promise<BucketSums[]> =>
    (await client.query<BucketSums>(text, [...values])).rows;
  const [here, there] = await Promise.all([ask(ends.source), ask(ends.target)]);
  return { rows: countRows(here), isSame: differingBuckets(here, there).length === 0 };
}

async function hashesOf(sql: CompareSql, range: KeyRange, client: pg.Client): Promise<RowHashes> {
  const { text, values } = sql.rows(range);
  const { rows } = await client.query<{ key: string[]; hash: string }>(text, [...values]);
  return new Map(rows.map((row) => [nameOf(row.key), row]));
}

/** Rows of the target that the source lacks or has otherwise, whichever range either server sorts them into. */
async function removeWrong(sql: CompareSql, range: KeyRange, ends: RefillEnds): Promise<void> {
  const there = await hashesOf(sql, range, ends.target);
  if (there.size === 0) return;
  const keys = suspects(await hashesOf(sql, range, ends.source), there).filter((key) =>
    there.has(nameOf(key)),
  );
  for (let at = 0; at < keys.length; at += KEYS_AT_ONCE) {
    const some = keys.slice(at, at + KEYS_AT_ONCE);
    const source = await hashesByNumber(sql, some, ends.source);
    const target = await hashesByNumber(sql, some, ends.target);
    const wrong = some.filter((_, index) => target.has(index) && target.get(index) !== source.get(index));
    if (wrong.length > 0) await write(sql, ends.target, sql.remove(wrong));
  }
}

async function addMissing(
  task: CopyTask,
  sql: CompareSql,
  range: KeyRange,
  ends: RefillEnds,
  options: CopyOptions,
): Promise<void> {
  const there = await hashesOf(sql, range, ends.target);
  if (there.size === 0 && (await copyRange(task, sql, range, options))) return;
  const here = await hashesOf(sql, range, ends.source);
  const keys = [...here].filter(([name]) => !there.has(name)).map(([, { key }]) => key);
  for (let at = 0; at < keys.length; at += KEYS_AT_ONCE) {
    options.signal.throwIfAborted();
    const some = keys.slice(at, at + KEYS_AT_ONCE);
    const target = await hashesByNumber(sql, some, ends.target);
    const missing = some.filter((_, index) => !target.has(index));
    if (missing.length === 0) continue;
    const read = sql.read(missing);
    const { rows } = await ends.source.query<{ row: (string | null)[] }>(read.text, [...read.values]);
    await write(sql, ends.target, sql.insert(rows.map(({ row }) => row)));
  }
}

/** By their keys' index. */
async function hashesByNumber(
  sql: CompareSql,
  keys: readonly Key[],
  client: pg.Client,
): Promise<Map<number, string>> {
  const { text, values } = sql.byKeys(keys);
  const { rows } = await client.query<{ n: number; hash: string }>(text, [...values]);
  return new Map(rows.map(({ n, hash }) => [n - 1, hash]));
}

function write(
  sql: CompareSql,
  target: pg.Client,
  { text, values }: { readonly text: string; readonly values: readonly unknown[] },
): Promise<void> {
  return runAsOwner(target, sql.owner, text, values);
}

/** False where rows with these keys are there after all: the two servers sort them differently. */
async function copyRange(
  task: CopyTask,
  sql: CompareSql,
  range: KeyRange,
  options: CopyOptions,
): Promise<boolean> {
  await using link = await openLink(options);
  try {
    await link.target.run('BEGIN');
    if (task.plan.owner !== null) await link.target.run(roleStatement(task.plan.owner).text);
    const { copyOut, copyIn } = sql.copyRange(range);
    await RawClient.copy(link.source, copyOut, link.target, copyIn, (bytes) => options.onBytes(task, bytes));
    await link.target.run('COMMIT');
    return true;
  } catch (error) {
    if ((error as { code?: string }).code === UNIQUE_VIOLATION) return false;
    throw error;
  }
}
