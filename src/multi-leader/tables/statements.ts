import { quoteIdentifier } from '../../logical/core/quote.ts';
import { quoteLiteral } from '../../logical/core/quote.ts';
import { quoteShape } from './shape.ts';
import type { TableOwner, TableShape } from './shape.ts';

/** Where regions keep what they know of each other's writes. */
export const SCHEMA = 'lockstep_regions';

/** Where the functions that write with the rights of tables' owners are, who own them: none of those may come in. */
export const WRITERS_SCHEMA = 'lockstep_writers';

/** Microseconds since 1970; exact, because extract() gives numeric. */
export function microsOf(expression: string): string {
  return `(extract(epoch FROM ${expression}) * 1000000)::bigint`;
}

/** A time from microseconds since 1970; exact below 2^53. */
export function timeOf(expression: string): string {
  return `(timestamptz 'epoch' + ${expression} * interval '1 microsecond')`;
}

/** What the server recorded for who wrote row `t`. */
export const COMMITTED_US: string = microsOf('pg_xact_commit_timestamp(t.xmin)');

/**
 * What was noted of a row, as a subquery of one row or none, with time_us, region and lsn; from SQL for the table's name, the key
 * and the commit time that the server has recorded for the row, which no function may give: it would be asked for each note.
 */
export function recordOf(table: string, key: string, committedUs: string): string {
  return `SELECT time_us, region, lsn FROM (
      SELECT r.time_us, r.region, r.lsn FROM ${SCHEMA}.records r WHERE r.table_name = ${table} AND r.key = ${key}
      UNION ALL
      SELECT b.times_us[i], b.regions[i], b.lsns[i] FROM ${SCHEMA}.batch_records b, array_position(b.keys, ${key}) AS i
      WHERE b.table_name = ${table} AND b.batch_us = ${committedUs} AND b.keys[1] <= ${key} AND i IS NOT NULL) noted
    ORDER BY time_us DESC, region DESC, lsn DESC LIMIT 1`;
}

/** Joins `r`, what was noted of row `t`, or nulls. */
export function joinRecord(table: string, key: string): string {
  return `CROSS JOIN LATERAL (SELECT ${key} AS key, ${COMMITTED_US} AS committed_us) w
    LEFT JOIN LATERAL (${recordOf(table, 'w.key', 'w.committed_us')}) r ON true`;
}

/**
 * The statements that a batch runs for one table. Each takes all its rows as one array of the table's row type (`$1`), and
 * `$2` the commit times; `u.n` numbers them from 1.
 */
export interface TableStatements {
  /** What is surely older is replaced; gives the numbers of those that were as one array, or NULL where that are all (`$3`). */
  readonly update: string;
  /** Locked before, and decided. */
  readonly updateDecided: string;
  /** As `update`. */
  readonly remove: string;
  readonly removeDecided: string;
  /** Where no row has the key; gives the numbers of those that were put in. By a hashed list: a link's session joins in loops. */
  readonly insert: string;
  readonly lock: string;
  /** Of locked rows (`$2` their keys, `$3` the table's name): what stands there. */
  readonly read: string;
  /** What stands there, as text of the row type, by number. */
  readonly images: string;
  /** Rows from texts of the row type (`$1`). */
  readonly updateImages: string;
  readonly insertImages: string;
}

export function statementsFor(shape: TableShape): TableStatements {
  const table = quoteShape(shape);
  const column = (position: number): string => quoteIdentifier(shape.columns[position]?.name ?? '');
  const values = shape.columns.map((_, position) => `c${position}`);
  const stored = shape.columns.flatMap(({ isGenerated }, position) => (isGenerated ? [] : [position]));
  const parts = new Map(shape.held.map(({ position, min }) => [position, min]));
  const set = stored.filter((position) => !shape.key.includes(position) && !parts.has(position));
  // What another region holds does not come with its rows.
  const entered = (position: number, value: string): string => String(parts.get(position) ?? value);
  // A row that is all key is written too: its version must move on.
  const assigned = (set.length > 0 ? set : shape.key).map(
    (position) => `${column(position)} = u.c${position}`,
  );
  const rows = (more: string, names: string): string =>
    `unnest($1::${table}[]${more}) WITH ORDINALITY AS u(${values.join(', ')}${names}, n)`;
  const timed = rows(', $2::timestamptz[]', ', written');
  const plain = rows('', '');
  const same = shape.key.map((position) => `t.${column(position)} = u.c${position}`).join(' AND ');
  const older = `coalesce(pg_xact_commit_timestamp(t.xmin), '-infinity') < u.written`;
  const key = shape.key.map(column).join(', ');
  const keyValues = shape.key.map((position) => `u.c${position}`).join(', ');
  const texts = `(SELECT r::${table} AS r FROM unnest($1::text[]) AS s(r) OFFSET 0) u`;
  const sameText = shape.key.map((position) => `t.${column(position)} = (u.r).${column(position)}`);
  const names = stored.map(column).join(', ');
  const as = (kind: keyof typeof ARGUMENTS, statement: string): string =>
    shape.writeAs === null ? statement : callWriter(shape, shape.writeAs, kind, statement);
  // One row says that all were meant; one for each would be most of the answer to a batch.
  const counted = (kind: keyof typeof ARGUMENTS, statement: string): string =>
    `WITH done(n) AS (${as(kind, statement)}) SELECT CASE WHEN count(*) < $3::int THEN coalesce(array_agg(n), '{}') END AS done FROM done`;
  return {
    update: counted(
      'timed',
      `UPDATE ${table} t SET ${assigned.join(', ')} FROM ${timed} WHERE ${same} AND ${older} RETURNING u.n::int`,
    ),
    updateDecided: as(
      'plain',
      `UPDATE ${table} t SET ${assigned.join(', ')} FROM ${plain} WHERE ${same} RETURNING u.n::int`,
    ),
    remove: counted(
      'timed',
      `DELETE FROM ${table} t USING ${timed} WHERE ${same} AND ${older} RETURNING u.n::int`,
    ),
    removeDecided: as('plain', `DELETE FROM ${table} t USING ${plain} WHERE ${same} RETURNING u.n::int`),
    insert: as(
      'plain',
      `WITH u AS MATERIALIZED (SELECT * FROM ${plain}), t AS (
      INSERT INTO ${table} (${names}) OVERRIDING SYSTEM VALUE SELECT ${stored.map((position) => entered(position, `c${position}`)).join(', ')}
      FROM u ORDER BY n ON CONFLICT (${key}) DO NOTHING RETURNING ${key})
      SELECT u.n::int FROM u WHERE ((${keyValues}) IN (SELECT ${key} FROM t)) IS TRUE`,
    ),
    lock: `SELECT u.n::int FROM ${table} t JOIN ${plain} ON ${same} FOR NO KEY UPDATE OF t`,
    read: `SELECT u.n::int, ${COMMITTED_US} AS "committedUs",
      coalesce((pg_xact_commit_timestamp_origin(t.xmin)).roident, 0) <> 0 AS "isApplied",
      r.time_us AS "timeUs", r.region, r.lsn::text AS lsn
      FROM ${table} t JOIN ${rows(', $2::bytea[]', ', key')} ON ${same}
      ${joinRecord('$3::text', 'u.key')}`,
    images: `SELECT u.n::int, ROW(t.*)::text AS image FROM ${table} t JOIN ${plain} ON ${same}`,
    updateImages: as(
      'texts',
      `UPDATE ${table} t SET ${(set.length > 0 ? set : shape.key)
        .map((position) => `${column(position)} = (u.r).${column(position)}`)
        .join(', ')} FROM ${texts} WHERE ${sameText.join(' AND ')} RETURNING 1`,
    ),
    insertImages: as(
      'texts',
      `INSERT INTO ${table} (${names}) OVERRIDING SYSTEM VALUE
      SELECT ${stored.map((position) => entered(position, `(u.r).${column(position)}`)).join(', ')} FROM ${texts} ON CONFLICT (${key}) DO NOTHING RETURNING 1`,
    ),
  };
}

/** What a statement takes, as its writer is given it. */
const ARGUMENTS = {
  timed: (table: string): string => `$1::${table}[], $2::timestamptz[]`,
  plain: (table: string): string => `$1::${table}[], NULL`,
  texts: (): string => '$1::text[], NULL',
};

/** The functions that write with an owner's rights: the second one has them, and is called by the first. */
export function writerOf({ oid }: TableOwner): { readonly outer: string; readonly inner: string } {
  return {
    outer: `${SCHEMA}.write_for_${oid}`,
    inner: `${WRITERS_SCHEMA}.write_as_${oid}`,
  };
}

function callWriter(
  shape: TableShape,
  owner: TableOwner,
  kind: keyof typeof ARGUMENTS,
  statement: string,
): string {
  const args = ARGUMENTS[kind](quoteShape(shape));
  return `SELECT n FROM ${writerOf(owner).outer}(${quoteLiteral(statement)}, ${args}) AS n`;
}

const VERSION_ROWS = `unnest($1::text[], $2::bytea[], $3::bigint[], $4::smallint[], $5::pg_lsn[])`;

/** `$1` to `$5`: tables, keys, times, regions, positions; `$6` the batch's own time. */
export const WRITE_RECORDS: string = `INSERT INTO ${SCHEMA}.records (table_name, key, time_us, region, lsn, batch_us)
  SELECT *, $6::bigint FROM ${VERSION_ROWS}
  ON CONFLICT (table_name, key) DO UPDATE
  SET time_us = excluded.time_us, region = excluded.region, lsn = excluded.lsn, batch_us = excluded.batch_us`;

/** `$1` to `$5` as for records. The later one stays. */
export const WRITE_TOMBSTONES: string = `INSERT INTO ${SCHEMA}.tombstones AS t (table_name, key, time_us, region, lsn)
  SELECT * FROM ${VERSION_ROWS}
  ON CONFLICT (table_name, key) DO UPDATE
  SET time_us = excluded.time_us, region = excluded.region, lsn = excluded.lsn
  WHERE (t.time_us, t.region, t.lsn) < (excluded.time_us, excluded.region, excluded.lsn)`;

/**
 * Of keys (`$2`) of a table (`$1`): the latest of its tombstone, of the table's own, with an empty key, where it was emptied,
 * and with `$3` of the version at which it stands aside.
 */
export const READ_TOMBSTONES: string = `SELECT u.n::int, s.time_us AS "timeUs", s.region, s.lsn::text AS lsn
  FROM unnest($2::bytea[]) WITH ORDINALITY AS u(key, n)
  CROSS JOIN LATERAL (
    SELECT time_us, region, lsn FROM ${SCHEMA}.tombstones t WHERE t.table_name = $1 AND t.key IN (u.key, '\\x')
    UNION ALL SELECT time_us, region, lsn FROM ${SCHEMA}.parked p WHERE $3::boolean AND p.table_name = $1 AND p.key = u.key
    ORDER BY time_us DESC, region DESC, lsn DESC LIMIT 1) s`;
