import type pg from 'pg';
import { LockstepError } from '../../model/errors.ts';
import { formatLsn, parseLsn } from '../../model/lsn.ts';
import type { Lsn } from '../../model/lsn.ts';
import { OWN_SCHEMA } from '../apply/own-schema.ts';
import type { TableName } from './source.ts';

/** A follow as the target remembers it. */
export interface FollowRow {
  readonly name: string;
  readonly sourceSystem: string;
  readonly slot: string;
  readonly publication: string;
  /** Everything of the source before it is in the target. */
  readonly position: Lsn;
  readonly committedAt: Date | null;
}

export interface FollowTableRow extends TableName {
  /** Null until its copy is done. */
  readonly copiedAt: Lsn | null;
  readonly copiedRows: number | null;
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
  }>(
    `SELECT name, source_system, slot, publication, position::text, committed_at FROM ${OWN_SCHEMA}.follow ORDER BY name`,
  );
  return rows.map((row) => ({
    name: row.name,
    sourceSystem: row.source_system,
    slot: row.slot,
    publication: row.publication,
    position: parseLsn(row.position),
    committedAt: row.committed_at,
  }));
}

export async function insertFollow(client: pg.Client, row: Omit<FollowRow, 'committedAt'>): Promise<void> {
  await client.query(
    `INSERT INTO ${OWN_SCHEMA}.follow (name, source_system, slot, publication, position) VALUES ($1, $2, $3, $4, $5)`,
    [row.name, row.sourceSystem, row.slot, row.publication, formatLsn(row.position)],
  );
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
  }>(
    `SELECT schema_name, table_name, copied_at::text, copied_rows FROM ${OWN_SCHEMA}.follow_table
      WHERE follow = $1 ORDER BY 1, 2`,
    [follow],
  );
  return rows.map((row) => ({
    schema: row.schema_name,
    name: row.table_name,
    copiedAt: row.copied_at === null ? null : parseLsn(row.copied_at),
    copiedRows: row.copied_rows === null ? null : Number(row.copied_rows),
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
