import type pg from 'pg';
import { LockstepError } from '../../model/errors.ts';
import { formatLsn, parseLsn } from '../../model/lsn.ts';
import type { Lsn } from '../../model/lsn.ts';
import type { TimelineHistory } from '../../model/timeline.ts';
import { OWN_SCHEMA } from '../apply/own-schema.ts';
import { formatHistory, parseHistory } from './source-history.ts';
import type { TableName } from '../tables.ts';
import type { FollowLag, FollowStatus } from './status.ts';

/** A follow as the target remembers it. */
export interface FollowRow {
  readonly name: string;
  readonly sourceSystem: string;
  readonly slot: string;
  readonly publication: string;
  /** Everything of the source before it is in the target. */
  readonly position: Lsn;
  readonly committedAt: Date | null;
  /** The source's past that the position is of; null where it was never noted. */
  readonly history: TimelineHistory | null;
}

export interface FollowTableRow extends TableName {
  /** Null until its copy is done. */
  readonly copiedAt: Lsn | null;
  readonly copiedRows: number | null;
  /** Whether a copy has begun, so that its rows are the follow's own. */
  readonly isBegun: boolean;
}

const NAME = /^[a-z0-9_]{1,40}$/;

/** Throws CONFIG_INVALID for a name that cannot be part of a slot's. */
export function checkFollowName(name: string): void {
  if (NAME.test(name)) return;
  throw new LockstepError(
    'CONFIG_INVALID',
    `"${name}" cannot name a follow; use up to 40 of a-z, 0-9 and _.`,
  );
}

/** All follows that write to this database. Lockstep's tables must be there. */
export async function readFollows(client: pg.Client): Promise<FollowRow[]> {
  const { rows } = await client.query<{
    name: string;
    source_system: string;
    slot: string;
    publication: string;
    position: string;
    committed_at: Date | null;
    source_history: string | null;
  }>(
    `SELECT name, source_system, slot, publication, position::text, committed_at, source_history FROM ${OWN_SCHEMA}.follow ORDER BY name`,
  );
  return rows.map((row) => ({
    name: row.name,
    sourceSystem: row.source_system,
    slot: row.slot,
    publication: row.publication,
    position: parseLsn(row.position),
    committedAt: row.committed_at,
    history: row.source_history === null ? null : parseHistory(row.source_history),
  }));
}

export async function insertFollow(
  client: pg.Client,
  { name, sourceSystem, slot, publication, position, history }: Omit<FollowRow, 'committedAt'>,
): Promise<void> {
  await client.query(
    `INSERT INTO ${OWN_SCHEMA}.follow (name, source_system, slot, publication, position, source_history)
     VALUES ($1, $2, $3, $4, $5, $6)`,
    [
      name,
      sourceSystem,
      slot,
      publication,
      formatLsn(position),
      history === null ? null : formatHistory(history),
    ],
  );
}

/** Notes which of the source's pasts the position is of, and the slot that goes on from there. */
export async function setHistory(
  client: pg.Client,
  name: string,
  history: TimelineHistory,
  slot: string,
): Promise<void> {
  await client.query(
    `UPDATE ${OWN_SCHEMA}.follow SET source_history = $2, slot = $3
      WHERE name = $1 AND (source_history, slot) IS DISTINCT FROM ($2, $3)`,
    [name, formatHistory(history), slot],
  );
}

/**
 * Puts a follow where its tables were refilled to: what was in quarantine is in them. Throws FENCED when another process
 * has moved it meanwhile.
 */
export async function moveFollow(
  client: pg.Client,
  row: Pick<FollowRow, 'name' | 'position'>,
  to: Pick<FollowRow, 'position' | 'slot'> & { readonly history: TimelineHistory },
): Promise<void> {
  const { rowCount } = await client.query(
    `WITH moved AS (UPDATE ${OWN_SCHEMA}.follow SET position = $3, source_history = $4, slot = $5, committed_at = NULL
                     WHERE name = $1 AND position = $2 RETURNING name),
          gone AS (DELETE FROM ${OWN_SCHEMA}.quarantine WHERE follow IN (SELECT name FROM moved))
     SELECT FROM moved`,
    [row.name, formatLsn(row.position), formatLsn(to.position), formatHistory(to.history), to.slot],
  );
  if (rowCount === 1) return;
  throw new LockstepError(
    'FENCED',
    'Another process works on this follow, and has moved it on; let only one of them run.',
  );
}

/** What a running follow last said of itself. */
export interface FollowReport {
  readonly follow: string;
  readonly reportedAt: Date;
  readonly lag: FollowLag & Pick<FollowStatus, 'transactionsPerSecond' | 'changesPerSecond' | 'missingRows'>;
}

export async function writeReport(client: pg.Client, status: FollowStatus): Promise<void> {
  const { lagBytes, lagMs, caughtUpInSeconds, transactionsPerSecond, changesPerSecond, missingRows } = status;
  const report = { lagBytes, lagMs, caughtUpInSeconds, transactionsPerSecond, changesPerSecond, missingRows };
  await client.query(
    `INSERT INTO ${OWN_SCHEMA}.follow_report (follow, reported_at, report) VALUES ($1, now(), $2)
     ON CONFLICT (follow) DO UPDATE SET reported_at = now(), report = excluded.report`,
    [status.name, JSON.stringify(report)],
  );
}

/** Of all follows that write to this database and have ever run. */
export async function readReports(client: pg.Client): Promise<FollowReport[]> {
  const { rows } = await client.query<{ follow: string; reported_at: Date; report: FollowReport['lag'] }>(
    `SELECT follow, reported_at, report FROM ${OWN_SCHEMA}.follow_report`,
  );
  return rows.map(({ follow, reported_at, report }) => ({ follow, reportedAt: reported_at, lag: report }));
}

export async function removeFollow(client: pg.Client, name: string): Promise<void> {
  await client.query(`DELETE FROM ${OWN_SCHEMA}.follow WHERE name = $1`, [name]);
}

export async function readFollowTables(client: pg.Client, follow: string): Promise<FollowTableRow[]> {
  const { rows } = await client.query<{
    schema_name: string;
    table_name: string;
    copied_at: string | null;
    copied_rows: string | null;
    is_begun: boolean;
  }>(
    `SELECT schema_name, table_name, copied_at::text, copied_rows, is_begun FROM ${OWN_SCHEMA}.follow_table
      WHERE follow = $1 ORDER BY 1, 2`,
    [follow],
  );
  return rows.map((row) => ({
    schema: row.schema_name,
    name: row.table_name,
    copiedAt: row.copied_at === null ? null : parseLsn(row.copied_at),
    copiedRows: row.copied_rows === null ? null : Number(row.copied_rows),
    isBegun: row.is_begun,
  }));
}

/** Makes the follow's tables just these; what is new will be copied, what is gone stays as it is. */
export async function setFollowTables(
  client: pg.Client,
  follow: string,
  tables: readonly TableName[],
): Promise<void> {
  const [schemas, names] = [tables.map(({ schema }) => schema), tables.map(({ name }) => name)];
  await client.query(
    `WITH wanted AS (SELECT * FROM unnest($2::text[], $3::text[]) AS w (schema_name, table_name)),
          gone AS (DELETE FROM ${OWN_SCHEMA}.follow_table t WHERE t.follow = $1
                      AND NOT EXISTS (SELECT FROM wanted w WHERE (w.schema_name, w.table_name) = (t.schema_name, t.table_name)))
     INSERT INTO ${OWN_SCHEMA}.follow_table (follow, schema_name, table_name)
     SELECT $1, schema_name, table_name FROM wanted ON CONFLICT DO NOTHING`,
    [follow, schemas, names],
  );
}
