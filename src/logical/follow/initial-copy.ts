import type pg from 'pg';
import { LockstepError } from '../../model/errors.ts';
import { formatLsn } from '../../model/lsn.ts';
import type { Lsn } from '../../model/lsn.ts';
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
  /** Tables at once. */
  readonly jobs: number;
  readonly onBytes: (task: CopyTask, bytes: number) => void;
  readonly onDone: (task: CopyTask, rows: number) => void;
  readonly signal: AbortSignal;
}

/**
 * Copies tables as they were in a snapshot. Each is one transaction of the target, which also notes that it is
 * done, so that after a crash only unfinished ones are copied again. Throws CONFIG_INVALID for a table that has
 * rows already.
 */
export async function copyTables(options: CopyOptions): Promise<void> {
  const waiting = [...options.tasks];
  const lane = async (): Promise<void> => {
    if (waiting.length === 0) return;
    await using link = await openLink(options);
    for (let task = waiting.shift(); task !== undefined; task = waiting.shift())
      await copyTable(task, link, options);
  };
  await Promise.all(Array.from({ length: Math.min(options.jobs, waiting.length) }, lane));
}

/** A connection to either side. */
interface Link extends AsyncDisposable {
  readonly source: RawClient;
  readonly target: RawClient;
}

async function openLink({ from, to, follow, snapshot, signal }: CopyOptions): Promise<Link> {
  const login = { applicationName: `lockstep follow ${follow} copy` };
  const sourceClient = await connectToLeader(from, login);
  let targetClient: pg.Client;
  try {
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
  const link: Link = {
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

async function copyTable(task: CopyTask, { source, target }: Link, options: CopyOptions): Promise<void> {
  const { relation } = task.table;
  const columns = relation.columns.flatMap(({ name }, index) =>
    task.plan.columns[index] === null ? [] : [name],
  );
  await target.run('BEGIN');
  if (task.plan.owner !== null) await target.run(roleStatement(task.plan.owner).text);
  if ((await target.run(`SELECT FROM ${task.plan.table} LIMIT 1`)) !== 'SELECT 0') {
    await target.run('ROLLBACK');
    throw new LockstepError(
      'CONFIG_INVALID',
      `Empty table ${relation.schema}.${relation.name} at the target first; it has rows, and a copy would mix with them.`,
    );
  }
  const isFresh = await truncateIfPossible(target, task.plan.table);
  const copyIn = `COPY ${task.plan.table} (${columns.map(quoteIdentifier).join(', ')}) FROM STDIN (FORMAT ${quoteLiteral(task.format)}${isFresh && !task.table.isPartitioned ? ', FREEZE' : ''})`;
  const rows = await RawClient.copy(
    source,
    copyOutText(task.table, columns, task.format),
    target,
    copyIn,
    (bytes) => options.onBytes(task, bytes),
  );
  if (task.plan.owner !== null) await target.run(roleStatement(null).text);
  await target.run(
    `UPDATE ${OWN_SCHEMA}.follow_table SET copied_at = ${quoteLiteral(formatLsn(options.snapshotLsn))}, copied_rows = ${rows}
      WHERE follow = ${quoteLiteral(options.follow)} AND schema_name = ${quoteLiteral(relation.schema)} AND table_name = ${quoteLiteral(relation.name)}`,
  );
  await target.run('COMMIT');
  options.onDone(task, rows);
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
