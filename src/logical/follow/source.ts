import type pg from 'pg';
import { LockstepError } from '../../model/errors.ts';
import { parseLsn } from '../../model/lsn.ts';
import type { Lsn } from '../../model/lsn.ts';
import { quoteIdentifier, quoteLiteral, quoteTable } from '../core/quote.ts';
import { readServerVersion } from '../endpoints.ts';
import { dropSlot } from '../slots.ts';
import { isSlotOf } from './core/slot-name.ts';
import type { Relation } from '../core/relation.ts';
import { IDENTITIES, KEY_OF_ATTRIBUTE } from '../tables.ts';
import type { TableName } from '../tables.ts';

/** A published table, with what is copied of it. */
export interface PublishedTable {
  readonly relation: Relation;
  /** Null for all rows. */
  readonly rowFilter: string | null;
  readonly isPartitioned: boolean;
  /** Whether columns are published that are computed at the source. */
  readonly hasGenerated: boolean;
  /** The server's estimate. */
  readonly bytes: number;
  /** Of the table itself, without large values that are stored apart. */
  readonly pages: number;
}

/** Who the source is, and how far its log goes. */
export async function readSource(
  client: pg.Client,
): Promise<{ readonly system: string; readonly flushedLsn: Lsn }> {
  const { rows } = await client.query<{ system: string; lsn: string }>(
    `SELECT (SELECT system_identifier FROM pg_control_system())::text || '/' || current_database() AS system,
            pg_current_wal_flush_lsn()::text AS lsn`,
  );
  const [row] = rows;
  if (row === undefined) throw new LockstepError('POSTGRES_FAILED', 'The source does not say who it is.');
  return { system: row.system, flushedLsn: parseLsn(row.lsn) };
}

/** A slot as the source has it now. */
export interface SourceSlot {
  readonly confirmedLsn: Lsn;
  readonly isLost: boolean;
  /** Whether the server got it from its leader, when it followed one. */
  readonly isSynced: boolean;
}

/** Null when there is none. */
export async function readSlot(client: pg.Client, slot: string): Promise<SourceSlot | null> {
  const { rows } = await client.query<{
    confirmed: string | null;
    wal_status: string | null;
    is_synced: boolean;
  }>(
    `SELECT confirmed_flush_lsn::text AS confirmed, wal_status,
            coalesce((to_jsonb(s) ->> 'synced')::bool, false) AS is_synced
       FROM pg_replication_slots s WHERE slot_name = $1`,
    [slot],
  );
  const [row] = rows;
  if (row === undefined) return null;
  return {
    confirmedLsn: row.confirmed === null ? (0n as Lsn) : parseLsn(row.confirmed),
    isLost: row.wal_status === 'lost',
    isSynced: row.is_synced,
  };
}

/** Drops what the follow has left of slots at this server, but the one that it has now. */
export async function dropOtherSlots(client: pg.Client, follow: string, kept: string | null): Promise<void> {
  const { rows } = await client.query<{ slot: string }>(
    `SELECT slot_name::text AS slot FROM pg_replication_slots
      WHERE slot_type = 'logical' AND database = current_database() AND NOT active`,
  );
  for (const { slot } of rows) if (slot !== kept && isSlotOf(slot, follow)) await dropSlot(client, slot);
}

const GENERATED_COLUMNS_VERSION = 180_000;

/** Makes the publication hold just these tables. The role must own them. */
export async function ensurePublication(
  client: pg.Client,
  publication: string,
  tables: readonly TableName[],
): Promise<void> {
  const name = quoteIdentifier(publication);
  const known = await client.query<{ owner: string | null }>(
    `SELECT (SELECT rolname FROM pg_roles r WHERE r.oid = p.pubowner AND NOT r.rolsuper
                AND r.rolname <> current_user) AS owner
       FROM pg_publication p WHERE pubname = $1`,
    [publication],
  );
  const owner = known.rows[0]?.owner ?? null;
  if (owner !== null) {
    throw new LockstepError(
      'CONFIG_INVALID',
      `Drop publication ${name} of the source, or give it to the user of --from: it belongs to "${owner}", who could take tables out of it without a word.`,
      { details: { publication, owner } },
    );
  }
  if (known.rowCount === 0) {
    // From 18 on, a full replica identity with a generated column that is not published makes updates fail.
    const isNew = (await readServerVersion(client)) >= GENERATED_COLUMNS_VERSION;
    const settings = `publish_via_partition_root = true${isNew ? ', publish_generated_columns = stored' : ''}`;
    await client.query(
      `CREATE PUBLICATION ${name} FOR TABLE ${tables.map(quoteTable).join(', ')} WITH (${settings})`,
    );
    return;
  }
  const { rows } = await client.query<TableName>(
    'SELECT schemaname AS schema, tablename AS name FROM pg_publication_tables WHERE pubname = $1',
    [publication],
  );
  const missing = tables.filter((table) => !rows.some((row) => isSame(row, table)));
  const extra = rows.filter((row) => !tables.some((table) => isSame(row, table)));
  if (missing.length > 0)
    await client.query(`ALTER PUBLICATION ${name} ADD TABLE ${missing.map(quoteTable).join(', ')}`);
  if (extra.length > 0)
    await client.query(`ALTER PUBLICATION ${name} DROP TABLE ${extra.map(quoteTable).join(', ')}`);
}

export function isSame(a: TableName, b: TableName): boolean {
  return a.schema === b.schema && a.name === b.name;
}

/** The tables of a publication as they would come in the stream. */
export async function readPublishedTables(client: pg.Client, publication: string): Promise<PublishedTable[]> {
  const { rows } = await client.query<{
    oid: string;
    schema: string;
    name: string;
    identity: string;
    row_filter: string | null;
    is_partitioned: boolean;
    has_generated: boolean;
    bytes: string;
    pages: number;
    columns: { name: string; typeOid: number; typeModifier: number; isKey: boolean }[];
  }>(
    `SELECT c.oid::int8::text AS oid, p.schemaname AS schema, p.tablename AS name, c.relreplident AS identity,
            p.rowfilter AS row_filter, c.relkind = 'p' AS is_partitioned, pg_table_size(c.oid)::text AS bytes,
            (pg_relation_size(c.oid) / current_setting('block_size')::int8)::int4 AS pages,
            (SELECT json_agg(json_build_object('name', a.attname, 'typeOid', a.atttypid::int8,
                      'typeModifier', a.atttypmod, 'isKey', coalesce(k.is_key, false)) ORDER BY a.attnum)
               FROM pg_attribute a ${KEY_OF_ATTRIBUTE}
              WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attname = ANY (p.attnames)
                AND (a.attgenerated = '' OR a.attgenerated = 's' AND $2)) AS columns,
            $2 AND EXISTS (SELECT FROM pg_attribute g WHERE g.attrelid = c.oid AND g.attgenerated = 's'
                              AND g.attname = ANY (p.attnames)) AS has_generated
       FROM pg_publication_tables p
       JOIN pg_namespace n ON n.nspname = p.schemaname
       JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = p.tablename
      WHERE p.pubname = $1 ORDER BY pg_table_size(c.oid) DESC`,
    [publication, (await readServerVersion(client)) >= GENERATED_COLUMNS_VERSION],
  );
  return rows.map((row) => ({
    relation: {
      oid: Number(row.oid),
      schema: row.schema,
      name: row.name,
      replicaIdentity: IDENTITIES[row.identity] ?? 'default',
      columns: row.identity === 'f' ? row.columns.map((column) => ({ ...column, isKey: true })) : row.columns,
    },
    rowFilter: row.row_filter,
    isPartitioned: row.is_partitioned,
    hasGenerated: row.has_generated,
    bytes: Number(row.bytes),
    pages: row.pages,
  }));
}

/** What to read of a table, for COPY; `where` for some of its rows. */
export function copyOutText(
  table: PublishedTable,
  columns: readonly string[],
  format: string,
  where: string | null = table.rowFilter,
): string {
  const list = columns.map(quoteIdentifier).join(', ');
  const name = quoteTable(table.relation);
  const isPlain = where === null && !table.isPartitioned && !table.hasGenerated;
  const what = isPlain
    ? `${name} (${list})`
    : `(SELECT ${list} FROM ${name}${where === null ? '' : ` WHERE ${where}`})`;
  return `COPY ${what} TO STDOUT (FORMAT ${quoteLiteral(format)})`;
}
