import type pg from 'pg';
import { escapeIdentifier } from 'pg';
import { codeOf, LockstepError } from '../../model/errors.ts';
import { pipeCopy } from '../../postgres/copy/copy-pipe.ts';
import { asOwner } from './as-owner.ts';
import { isOfTheCondition } from './core/condition-error.ts';
import { findTable } from './tables.ts';
import type { TableShape } from './tables.ts';

/** Both servers of a rescue, with sessions that prepareSession has made alike. */
export interface RescueSides {
  /** The delayed node, as it was before the mistake. As superuser. */
  readonly past: pg.Client;
  /** The leader, as it is. As superuser. */
  readonly present: pg.Client;
  /** The transactions that were the mistake; empty where it is not known which. */
  readonly mistake: readonly number[];
  /** Files of tables of which the mistake changed rows and deleted none. */
  readonly onlyUpdated: ReadonlySet<number>;
}

/** What has become of a row. */
export type Verdict =
  /** The leader has none with its key. */
  | 'missing'
  /** The mistake wrote it last. */
  | 'changed'
  /** The mistake wrote it, and somebody else after that: or took it away, after the mistake had only changed it. */
  | 'newer';

/** One table, then and now. */
export interface TableComparison {
  readonly table: TableShape;
  /** Null when the leader has no such table. */
  readonly presentTable: TableShape | null;
  /** The mistake did something to the table as a whole: dropped, truncated or rewrote it. */
  readonly isWhole: boolean;
  readonly rows: { readonly past: number; readonly present: number };
  readonly counts: Readonly<Record<Verdict, number>>;
  /** Rows that differ or are new, by which the mistake had no part in: they are left alone. */
  readonly others: number;
  /** Name of the temporary table on the past's side: `key`, `verdict`, `seen_writer`. */
  readonly verdicts: string;
  /** Name of the one there of the rows that are meant: `key`. Null for all. */
  readonly chosen: string | null;
}

/** Writes each value as text: whatever its type, equal texts are equal values. */
function rowText(alias: string, columns: readonly string[]): string {
  return `ROW(${columns.map((name) => `${alias}.${escapeIdentifier(name)}`).join(', ')})::text`;
}

/**
 * Compares a table row by row, by its primary key; a table without one by whole rows, which can only be missing then.
 * Writes nothing but a temporary table on the delayed node. Which rows are the mistake's doing is told by PostgreSQL's
 * own marks: a row of the past carries the transaction that changed or removed it, though that never committed there.
 * Throws CONFIG_INVALID when the past has no such table, or PostgreSQL does not understand `where`.
 */
export async function compareTable(
  sides: RescueSides,
  name: string,
  where: string | null,
): Promise<TableComparison> {
  const { past, present, mistake, onlyUpdated } = sides;
  const table = await findTable(past, name);
  if (table === null)
    throw new LockstepError(
      'CONFIG_INVALID',
      `There was no table ${name} before the mistake either; see "lockstep rescue browse" for those that there were. Nothing was changed.`,
    );
  const presentTable = await findTable(present, table.sql);
  const isWhole =
    presentTable === null || presentTable.oid !== table.oid || presentTable.fileNode !== table.fileNode;
  const verdicts = escapeIdentifier(`rescue_${table.oid}`);
  const columns = sharedColumns(table, presentTable);
  await past.query(`DROP TABLE IF EXISTS pg_temp.${verdicts}, pg_temp.rescue_present`);
  await past.query(`CREATE TEMP TABLE rescue_present (key text, writer bigint, hash text)`);
  if (presentTable !== null) {
    await pipeCopy(
      present,
      `COPY (${fingerprints(presentTable, table.key, columns)}) TO STDOUT`,
      past,
      'COPY rescue_present FROM STDIN',
    );
  }
  await past.query('CREATE INDEX ON rescue_present (key); ANALYZE rescue_present');
  const xids = `ARRAY[${mistake.join(', ')}]::bigint[]`;
  const chosen = where === null ? null : await chooseRows(past, table, columns, where);
  const isMistakes =
    isWhole || mistake.length === 0
      ? 'true'
      : `(past.writer::text::bigint = ANY (${xids}) OR pg_temp.rescue_wrote(past.writer, ${xids}))`;
  await past.query(SHARED_ROWS_SQL);
  await past.query(
    `CREATE TEMP TABLE ${verdicts} AS
     SELECT past.key, now.writer AS seen_writer,
            CASE WHEN now.writer = ANY (${xids}) THEN 'changed'
                 WHEN NOT ${isMistakes} THEN 'others'
                 WHEN now.key IS NULL THEN '${onlyUpdated.has(table.fileNode) && !isWhole ? 'newer' : 'missing'}'
                 ELSE 'newer' END AS verdict
       FROM (${pastFingerprints(table, columns)}) AS past
       LEFT JOIN rescue_present AS now ON now.key = past.key
      WHERE (now.key IS NULL OR now.hash <> past.hash)${chosen === null ? '' : ` AND past.key IN (SELECT key FROM ${chosen})`}`,
  );
  return {
    table,
    presentTable,
    isWhole,
    verdicts,
    chosen,
    ...(await countVerdicts(past, table, verdicts)),
  };
}

function sharedColumns(table: TableShape, presentTable: TableShape | null): readonly string[] {
  const names = table.columns.map((column) => column.name);
  if (presentTable === null) return names;
  return names.filter((name) => presentTable.columns.some((column) => column.name === name));
}

/** How rows are told from each other, as text: by the primary key, else by all columns and their number among equals. */
export function keyText(key: readonly string[], columns: readonly string[]): string {
  const all = rowText('t', columns);
  return key.length > 0 ? rowText('t', key) : `${all} || '#' || row_number() OVER (PARTITION BY ${all})`;
}

/** A condition may call functions of the app's. Returns the temporary table with the keys that it holds for. */
async function chooseRows(
  past: pg.Client,
  table: TableShape,
  columns: readonly string[],
  where: string,
): Promise<string> {
  const chosen = escapeIdentifier(`rescue_chosen_${table.oid}`);
  await past.query(`DROP TABLE IF EXISTS pg_temp.${chosen}`);
  await past.query('BEGIN');
  try {
    await past.query('SET CONSTRAINTS ALL IMMEDIATE');
    const sql = `SELECT ${keyText(table.key, columns)} FROM ${table.sql} AS t WHERE (${where}\n)`;
    await asOwner(past, table, { kind: 'query', sql }, (view) =>
      past.query(`CREATE TEMP TABLE ${chosen} AS SELECT value AS key FROM ${view}`),
    );
    await past.query('COMMIT');
  } catch (error) {
    await past.query('ROLLBACK').catch(() => undefined);
    if (!isOfTheCondition(codeOf(error))) throw error;
    throw new LockstepError(
      'CONFIG_INVALID',
      `Correct --where, of which PostgreSQL says: ${(error as Error).message}. Nothing was changed.`,
      { cause: error },
    );
  }
  return chosen;
}

/** `key`, `writer` and a hash of each row. */
function fingerprints({ sql }: TableShape, key: readonly string[], columns: readonly string[]): string {
  return `SELECT ${keyText(key, columns)} AS key, t.xmin::text::bigint AS writer, md5(${rowText('t', columns)}) AS hash FROM ${sql} AS t`;
}

function pastFingerprints({ sql, key }: TableShape, columns: readonly string[]): string {
  return `SELECT ${keyText(key, columns)} AS key, md5(${rowText('t', columns)}) AS hash, t.xmax AS writer FROM ${sql} AS t`;
}

/**
 * Whoever inserts a row that points at one which is being updated locks that, and then the row names both of them by a number
 * of another kind. A transaction of that number is taken for it where both exist, but only of rows that differ.
 * Source: PostgreSQL documentation, "Transaction ID and Snapshot Information Functions"; src/backend/access/heap/README.tuplock.
 */
const SHARED_ROWS_SQL = `
CREATE OR REPLACE FUNCTION pg_temp.rescue_wrote(several xid, xids bigint[]) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN
  RETURN several::text <> '0' AND EXISTS (SELECT FROM pg_catalog.pg_get_multixact_members(several) AS one
    WHERE one.xid::text::bigint = ANY (xids) AND one.mode IN ('nokeyupd', 'upd'));
EXCEPTION WHEN OTHERS THEN RETURN false; END $$`;

async function countVerdicts(
  past: pg.Client,
  table: TableShape,
  verdicts: string,
): Promise<Pick<TableComparison, 'rows' | 'counts' | 'others'>> {
  const { rows: counted } = await past.query<{ verdict: string; count: string }>(
    `SELECT verdict, count(*) AS count FROM ${verdicts} GROUP BY verdict`,
  );
  const of = (verdict: string): number => Number(counted.find((row) => row.verdict === verdict)?.count ?? 0);
  const totals = await past.query<{ past: string; present: string }>(
    `SELECT (SELECT count(*) FROM ${table.sql}) AS past, (SELECT count(*) FROM rescue_present) AS present`,
  );
  return {
    rows: { past: Number(totals.rows[0]?.past ?? 0), present: Number(totals.rows[0]?.present ?? 0) },
    counts: { missing: of('missing'), changed: of('changed'), newer: of('newer') },
    others: of('others'),
  };
}
