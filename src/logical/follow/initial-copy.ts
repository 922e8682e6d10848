import type pg from 'pg';
import { LockstepError } from '../../model/errors.ts';
import { formatLsn } from '../../model/lsn.ts';
import type { Lsn } from '../../model/lsn.ts';
import { readOnlyTables, WHERE_KNOWN_ONLY_TABLES } from '../../wire/only-tables.ts';
import { RawClient } from '../../wire/raw/raw-client.ts';
import { roleStatement } from '../apply/core/owners.ts';
import { OWN_SCHEMA } from '../apply/own-schema.ts';
import type { TablePlan } from '../apply/core/table-plan.ts';
import { quoteIdentifier, quoteLiteral } from '../core/quote.ts';
import { connectToLeader } from '../endpoints.ts';
import { copyOutText } from './source.ts';
import type { PublishedTable } from './source.ts';

/** A table to copy, with how it is written. */
export interface CopyTask {
  readonly table: PublishedTable;
  readonly plan: TablePlan;
  readonly format: 'binary' | 'text';
}

export interface CopyOptions {
  readonly from: string;
  readonly to: string;
  readonly follow: string;
  /** As of which the source is read; the stream goes on from `snapshotLsn`. */
  readonly snapshot: string;
  readonly snapshotLsn: Lsn;
  readonly tasks: readonly CopyTask[];
  /** Connections that copy at once. */
  readonly jobs: number;
  /** Default 64 MB. */
  readonly chunkBytes?: number;
  readonly onBytes: (task: CopyTask, bytes: number) => void;
  readonly onDone: (task: CopyTask, rows: number) => void;
  readonly signal: AbortSignal;
}

/** PostgreSQL's, unless it was built otherwise; then the stretches are of another size. */
const PAGE_BYTES = 8_192;
/** Rows of so many bytes of a table are copied in one transaction of the target. */
const CHUNK_BYTES = 67_108_864;

/** A stretch of a table by its pages; null for all of it. */
interface Chunk {
  readonly fromPage: number;
  /** Null for no end. */
  readonly toPage: number | null;
}

/** What one connection copies next. */
interface Piece {
  readonly progress: TableProgress;
  readonly chunk: Chunk | null;
}

interface TableProgress {
  readonly task: CopyTask;
  left: number;
  rows: number;
}

/**
 * Copies tables as they were in a snapshot, over several connections at once. A small table is one transaction of the
 * target, a large one many; the last one's notes that the table is done. After a crash a large one has rows already,
 * which {@link refillTables} completes. Throws CONFIG_INVALID for a table that has rows before.
 */
export async function copyTables(options: CopyOptions): Promise<void> {
  const pieces: Piece[] = [];
  if (options.tasks.length > 0) {
    await using link = await openLink(options);
    await link.target.run(WHERE_KNOWN_ONLY_TABLES);
    for (const task of options.tasks) pieces.push(...(await plan(task, link, options)));
  }
  const stop = new AbortController();
  const ended = AbortSignal.any([options.signal, stop.signal]);
  const lane = async (): Promise<void> => {
    if (pieces.length === 0) return;
    await using link = await openLink({ ...options, signal: ended });
    for (let piece = pieces.shift(); piece !== undefined; piece = pieces.shift())
      await copyPiece(piece, link, options);
  };
  const lanes = Array.from({ length: Math.min(options.jobs, pieces.length) }, async () => {
    try {
      await lane();
    } catch (error) {
      // The others would go on while it is tried again.
      stop.abort(error);
      throw error;
    }
  });
  const failed = (await Promise.allSettled(lanes)).find(({ status }) => status === 'rejected');
  if (failed?.status === 'rejected') throw stop.signal.reason ?? failed.reason;
}

/** In pieces, where the table is large and its rows can be told apart should the copy be interrupted. */
async function plan(task: CopyTask, { target }: CopyLink, options: CopyOptions): Promise<Piece[]> {
  const { table, plan } = task;
  const chunkBytes = options.chunkBytes ?? CHUNK_BYTES;
  await refuseRows(target, task);
  const isDivided =
    table.bytes > chunkBytes && plan.key.length > 0 && table.rowFilter === null && !table.isPartitioned;
  if (!isDivided || table.hasGenerated) return [{ progress: { task, left: 1, rows: 0 }, chunk: null }];
  const step = Math.ceil(chunkBytes / PAGE_BYTES);
  const chunks: Chunk[] = [];
  // The last one has no end: the table may have grown before the snapshot.
  for (let page = 0; page === 0 || page < table.pages; page += step)
    chunks.push({ fromPage: page, toPage: page + step < table.pages ? page + step : null });
  const progress: TableProgress = { task, left: chunks.length, rows: 0 };
  await target.run(
    `UPDATE ${OWN_SCHEMA}.follow_table SET is_begun = true WHERE ${whereTable(task, options)}`,
  );
  return chunks.map((chunk) => ({ progress, chunk }));
}

async function copyPiece({ progress, chunk }: Piece, link: CopyLink, options: CopyOptions): Promise<void> {
  const { task } = progress;
  if (chunk === null) return copyWhole(task, link, options);
  const { source, target } = link;
  await target.run('BEGIN');
  if (task.plan.owner !== null) await target.run(roleStatement(task.plan.owner).text);
  const columns = columnsOf(task);
  const copyIn = `COPY ${task.plan.table} (${columns.map(quoteIdentifier).join(', ')}) FROM STDIN (FORMAT ${quoteLiteral(task.format)})`;
  const copyOut = copyOutText(task.table, columns, task.format, pagesOf(chunk));
  const rows = await RawClient.copy(source, copyOut, target, copyIn, (bytes) => options.onBytes(task, bytes));
  await target.run('COMMIT');
  progress.rows += rows;
  progress.left--;
  if (progress.left === 0) await markCopied(target, task, progress.rows, options);
}

function pagesOf({ fromPage, toPage }: Chunk): string {
  const end = toPage === null ? '' : ` AND ctid < '(${toPage},0)'`;
  return `ctid >= '(${fromPage},0)'${end}`;
}

function columnsOf({ table, plan }: CopyTask): string[] {
  return table.relation.columns.flatMap(({ name }, index) => (plan.columns[index] === null ? [] : [name]));
}

/** A connection to either side; the source's sees the snapshot, and of it nothing but tables. */
export interface CopyLink extends AsyncDisposable {
  readonly source: RawClient;
  readonly target: RawClient;
}

export async function openLink({ from, to, follow, snapshot, signal }: CopyOptions): Promise<CopyLink> {
  const login = { applicationName: `lockstep follow ${follow} copy` };
  const sourceClient = await connectToLeader(from, login);
  let targetClient: pg.Client;
  try {
    await readOnlyTables(sourceClient);
    targetClient = await connectToLeader(to, login);
  } catch (error) {
    await sourceClient.end();
    throw error;
  }
  const [source, target] = [new RawClient(sourceClient), new RawClient(targetClient)];
  const abort = (): void => {
    const error = signal.reason instanceof Error ? signal.reason : new Error('The copy was ended.');
    source.destroy(error);
    target.destroy(error);
  };
  signal.addEventListener('abort', abort, { once: true });
  const link: CopyLink = {
    source,
    target,
    [Symbol.asyncDispose]: () => {
      signal.removeEventListener('abort', abort);
      source.end();
      target.end();
      return Promise.resolve();
    },
  };
  try {
    await source.run(`BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY`);
    await source.run(`SET TRANSACTION SNAPSHOT ${quoteLiteral(snapshot)}`);
    await source.run(
      `SET LOCAL datestyle = 'ISO'; SET LOCAL intervalstyle = 'postgres'; SET LOCAL extra_float_digits = 3`,
    );
    await target.run(`SET datestyle = 'ISO'; SET intervalstyle = 'postgres'`);
    // Where the role may not, triggers and foreign keys of the target apply.
    await target.run('SET session_replication_role = replica').catch(() => undefined);
    return link;
  } catch (error) {
    await link[Symbol.asyncDispose]();
    throw error;
  }
}

async function refuseRows(target: RawClient, { table: { relation }, plan }: CopyTask): Promise<void> {
  if ((await target.run(`SELECT FROM ${plan.table} LIMIT 1`)) === 'SELECT 0') return;
  throw new LockstepError(
    'CONFIG_INVALID',
    `Empty table ${relation.schema}.${relation.name} at the target first; it has rows, and a copy would mix with them.`,
  );
}

/** In one transaction with the note that it is done. The table must be empty. */
export async function copyWhole(
  task: CopyTask,
  { source, target }: CopyLink,
  options: CopyOptions,
): Promise<void> {
  await target.run('BEGIN');
  if (task.plan.owner !== null) await target.run(roleStatement(task.plan.owner).text);
  const isFresh = await truncateIfPossible(target, task.plan.table);
  const columns = columnsOf(task);
  const copyIn = `COPY ${task.plan.table} (${columns.map(quoteIdentifier).join(', ')}) FROM STDIN (FORMAT ${quoteLiteral(task.format)}${isFresh && !task.plan.isPartitioned ? ', FREEZE' : ''})`;
  const copyOut = copyOutText(task.table, columns, task.format);
  const rows = await RawClient.copy(source, copyOut, target, copyIn, (bytes) => options.onBytes(task, bytes));
  if (task.plan.owner !== null) await target.run(roleStatement(null).text);
  await target.run(noteCopied(task, rows, options));
  // Triggers that the owner has deferred run at the commit.
  if (task.plan.owner !== null) await target.run(roleStatement(task.plan.owner).text);
  await target.run('COMMIT');
  options.onDone(task, rows);
}

/** Notes that the table is as it was in the snapshot. */
export async function markCopied(
  target: RawClient,
  task: CopyTask,
  rows: number,
  options: CopyOptions,
): Promise<void> {
  await target.run(noteCopied(task, rows, options));
  options.onDone(task, rows);
}

function noteCopied(task: CopyTask, rows: number, options: CopyOptions): string {
  const at = quoteLiteral(formatLsn(options.snapshotLsn));
  return `UPDATE ${OWN_SCHEMA}.follow_table SET copied_at = ${at}, copied_rows = ${rows} WHERE ${whereTable(task, options)}`;
}

function whereTable({ table: { relation } }: CopyTask, { follow }: CopyOptions): string {
  const names = [follow, relation.schema, relation.name].map(quoteLiteral).join(', ');
  return `(follow, schema_name, table_name) = (${names})`;
}

/** Rows that come into a table in the transaction that emptied it need no later VACUUM; foreign keys may forbid it. */
async function truncateIfPossible(target: RawClient, table: string): Promise<boolean> {
  await target.run('SAVEPOINT emptied');
  try {
    await target.run(`TRUNCATE ${table}`);
    return true;
  } catch {
    await target.run('ROLLBACK TO SAVEPOINT emptied');
    return false;
  }
}
