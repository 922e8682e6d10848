import type pg from 'pg';
import { formatRecord, isSameImage, parseRecord } from '../core/image.ts';
import type { Image } from '../core/image.ts';
import { orderOperations } from '../core/merge.ts';
import type { Conflict, Operation } from '../core/merge.ts';
import { formatLsn, parseLsn } from '../../model/lsn.ts';
import type { Lsn } from '../../model/lsn.ts';
import { encodeKeys } from '../tables/row-codec.ts';
import { quoteShape } from '../tables/shape.ts';
import type { TableShape } from '../tables/shape.ts';
import { SCHEMA, statementsFor } from '../tables/statements.ts';

/** What is not settled of a row, as the journal has it. */
export interface Journal {
  /** Whether anything is; else the row itself is the base. */
  readonly isOpen: boolean;
  readonly base: Image | null;
  /** In the order of their versions. */
  readonly operations: readonly Operation[];
}

export interface KeyedOperation {
  readonly key: string;
  readonly operation: Operation;
}

interface JournalRow {
  readonly n: number;
  readonly isOpen: boolean;
  readonly base: string | null;
  readonly operations: readonly [string, number, string, string | null, string | null][];
}

/**
 * Of every session: names mean PostgreSQL's own, whoever else made some of the same name, and the same value has the same
 * text wherever it is read.
 */
export const SESSION_SETTINGS: Readonly<Record<string, string>> = {
  search_path: 'pg_catalog, pg_temp',
  timezone: 'UTC',
  datestyle: 'ISO, YMD',
  intervalstyle: 'postgres',
  extra_float_digits: '1',
  bytea_output: 'hex',
};

export const SET_SESSION: string = Object.entries(SESSION_SETTINGS)
  .map(([name, value]) => `SET ${name} = ${name === 'search_path' ? value : `'${value}'`}`)
  .join('; ');

const READ = `SELECT u.n::int, b.key IS NOT NULL AS "isOpen", b.image AS base,
    coalesce(json_agg(json_build_array(o.time_us::text, o.region, o.lsn::text, o.old_row, o.new_row))
      FILTER (WHERE o.key IS NOT NULL), '[]') AS operations
  FROM unnest($2::bytea[]) WITH ORDINALITY AS u(key, n)
  LEFT JOIN ${SCHEMA}.bases b ON b.table_name = $1 AND b.key = u.key
  LEFT JOIN ${SCHEMA}.operations o ON o.table_name = $1 AND o.key = u.key
  GROUP BY 1, 2, 3`;

/** A base that is there stays, and is locked: who folds its row meanwhile waits, and sees what is entered upon it. */
const WRITE_BASES = `INSERT INTO ${SCHEMA}.bases AS b (table_name, key, image)
  SELECT $1, * FROM unnest($2::bytea[], $3::text[])
  ON CONFLICT (table_name, key) DO UPDATE SET image = b.image`;

const WRITE_OPERATIONS = `INSERT INTO ${SCHEMA}.operations (table_name, key, time_us, region, lsn, old_row, new_row)
  SELECT $1, * FROM unnest($2::bytea[], $3::bigint[], $4::smallint[], $5::pg_lsn[], $6::text[], $7::text[])
  ON CONFLICT DO NOTHING`;

/** The journals of these rows, by the order of `keys`. */
export async function readJournals(
  client: pg.Client,
  shape: TableShape,
  keys: readonly string[],
): Promise<Journal[]> {
  const { rows } = await client.query<JournalRow>(READ, [shape.name, encodeKeys(keys)]);
  const found = new Map(rows.map((row) => [row.n, row]));
  return keys.map((_, index) => {
    const row = found.get(index + 1);
    return {
      isOpen: row?.isOpen === true,
      base: toImage(shape, row?.base ?? null),
      operations: orderOperations(
        (row?.operations ?? []).map(([timeUs, region, lsn, old, next]) => ({
          version: { timeUs: Number(timeUs), region, lsn: parseLsn(lsn) },
          old: toImage(shape, old),
          row: toImage(shape, next),
        })),
      ),
    };
  });
}

/** Opens journals where there are none; `bases` by key. */
export function writeBases(
  client: pg.Client,
  shape: TableShape,
  bases: ReadonlyMap<string, Image | null>,
): Promise<unknown> {
  const keys = [...bases.keys()].toSorted();
  return client.query(WRITE_BASES, [
    shape.name,
    encodeKeys(keys),
    keys.map((key) => fromImage(bases.get(key) ?? null)),
  ]);
}

export function writeOperations(
  client: pg.Client,
  shape: TableShape,
  operations: readonly KeyedOperation[],
): Promise<unknown> {
  const sorted = operations.toSorted((a, b) => (a.key < b.key ? -1 : 1));
  return client.query(WRITE_OPERATIONS, [
    shape.name,
    encodeKeys(sorted.map(({ key }) => key)),
    sorted.map(({ operation }) => operation.version.timeUs),
    sorted.map(({ operation }) => operation.version.region),
    sorted.map(({ operation }) => formatLsn(operation.version.lsn as Lsn)),
    sorted.map(({ operation }) => fromImage(operation.old)),
    sorted.map(({ operation }) => fromImage(operation.row)),
  ]);
}

/** Keys of rows with operations below a time. */
export async function findSettled(
  client: pg.Client,
  shape: TableShape,
  lowestUs: number,
  limit: number,
): Promise<string[]> {
  const { rows } = await client.query<{ key: Buffer }>(
    `SELECT DISTINCT key FROM ${SCHEMA}.operations WHERE table_name = $1 AND time_us < $2 LIMIT ${limit}`,
    [shape.name, lowestUs],
  );
  return rows.map(({ key }) => key.toString('latin1'));
}

/**
 * Takes what is settled out of the journal, with the new bases. A row's journal is closed where nothing is left: of a row that
 * is not here nothing is locked, and somebody may have made it, and the own reader entered that, since the journal was read.
 */
export async function foldJournals(
  client: pg.Client,
  shape: TableShape,
  lowestUs: number,
  folded: readonly { readonly key: string; readonly base: Image | null }[],
): Promise<void> {
  const sorted = folded.toSorted((a, b) => (a.key < b.key ? -1 : 1));
  const keys = encodeKeys(sorted.map(({ key }) => key));
  // One after the other: each must see what the one before has waited for.
  await client.query(
    `SELECT FROM ${SCHEMA}.bases WHERE table_name = $1 AND key = ANY ($2::bytea[]) ORDER BY key FOR UPDATE`,
    [shape.name, keys],
  );
  await client.query(
    `DELETE FROM ${SCHEMA}.operations WHERE table_name = $1 AND key = ANY ($2::bytea[]) AND time_us < $3`,
    [shape.name, keys, lowestUs],
  );
  await client.query(
    `UPDATE ${SCHEMA}.bases b SET image = u.image FROM unnest($2::bytea[], $3::text[]) AS u(key, image)
     WHERE b.table_name = $1 AND b.key = u.key`,
    [shape.name, keys, sorted.map(({ base }) => fromImage(base))],
  );
  await client.query(
    `DELETE FROM ${SCHEMA}.bases b WHERE table_name = $1 AND key = ANY ($2::bytea[])
       AND NOT EXISTS (SELECT FROM ${SCHEMA}.operations o WHERE o.table_name = $1 AND o.key = b.key)`,
    [shape.name, keys],
  );
}

export interface KeyedConflict {
  readonly key: string;
  readonly conflict: Conflict;
}

export async function writeConflicts(
  client: pg.Client,
  shape: TableShape,
  conflicts: readonly KeyedConflict[],
): Promise<void> {
  if (conflicts.length === 0) return;
  const named = (image: Image | null): string | null =>
    image === null ? null : JSON.stringify(namedRow(shape, image));
  await client.query(
    `INSERT INTO ${SCHEMA}.conflicts (table_name, key, kind, decision, earlier_us, earlier_region, later_us, later_region,
       later_lsn, before_row, seen_row, written_row, result_row)
     SELECT $1, * FROM unnest($2::text[], $3::text[], $4::text[], $5::bigint[], $6::smallint[], $7::bigint[],
       $8::smallint[], $9::pg_lsn[], $10::jsonb[], $11::jsonb[], $12::jsonb[], $13::jsonb[]) ON CONFLICT DO NOTHING`,
    [
      shape.name,
      conflicts.map(({ conflict }) => keyText(shape, conflict)),
      conflicts.map(({ conflict }) => conflict.kind),
      conflicts.map(({ conflict }) => conflict.decision),
      conflicts.map(({ conflict }) => conflict.earlier?.timeUs ?? null),
      conflicts.map(({ conflict }) => conflict.earlier?.region ?? null),
      conflicts.map(({ conflict }) => conflict.later.timeUs),
      conflicts.map(({ conflict }) => conflict.later.region),
      conflicts.map(({ conflict }) => formatLsn(conflict.later.lsn as Lsn)),
      conflicts.map(({ conflict }) => named(conflict.before)),
      conflicts.map(({ conflict }) => named(conflict.seen)),
      conflicts.map(({ conflict }) => named(conflict.written)),
      conflicts.map(({ conflict }) => named(conflict.result)),
    ],
  );
}

/** A write saw a row, or made one. */
function keyText(shape: TableShape, { seen, written }: Conflict): string {
  return writtenKey(shape, written ?? seen ?? []);
}

/** A row's key as people write it: its values with commas between them. */
export function writtenKey(shape: TableShape, image: Image): string {
  return shape.key.map((position) => image[position] ?? '').join(',');
}

/** A row by the names of its columns. */
export function namedRow(shape: TableShape, image: Image): Record<string, string | null> {
  return Object.fromEntries(shape.columns.map(({ name }, index) => [name, image[index] ?? null]));
}

/** What rows hold now, by number from 1; `keyRows` is an array of the table's row type with the keys at least. */
export async function readImages(
  client: pg.Client,
  shape: TableShape,
  keyRows: Buffer,
): Promise<ReadonlyMap<number, Image>> {
  const { rows } = await client.query<{ n: number; image: string }>(statementsFor(shape).images, [keyRows]);
  return new Map(rows.map(({ n, image }) => [n, normalize(shape, image)]));
}

/**
 * Makes a locked row, which is `here`, what is wanted. False when it is to be made, and somebody made one since: nothing
 * is locked where no row is.
 */
export async function writeImage(
  client: pg.Client,
  shape: TableShape,
  keyRows: Buffer,
  { here, wanted }: { readonly here: Image | null; readonly wanted: Image | null },
): Promise<boolean> {
  if (isSameImage(wanted, here)) return true;
  const sql = statementsFor(shape);
  const { rowCount } =
    wanted === null
      ? await client.query(sql.removeDecided, [keyRows])
      : await client.query(here === null ? sql.insertImages : sql.updateImages, [[fromImage(wanted)]]);
  return rowCount === 1;
}

/** Rows of the table's row type as text images. */
export async function textImages(client: pg.Client, shape: TableShape, rows: Buffer): Promise<Image[]> {
  const found = await client.query<{ image: string }>(
    `SELECT ROW(u.*)::text AS image FROM unnest($1::${quoteShape(shape)}[]) AS u`,
    [rows],
  );
  return found.rows.map(({ image }) => normalize(shape, image));
}

/** What a server computes, and what each region holds a part of, is no part of what regions compare. */
function normalize(shape: TableShape, text: string): Image {
  const values = parseRecord(text);
  const isHeld = new Set(shape.held.map(({ position }) => position));
  return shape.columns.map(({ isGenerated }, index) =>
    isGenerated || isHeld.has(index) ? null : (values[index] ?? null),
  );
}

/** What was noted before a column was added has nothing for it. */
function toImage(shape: TableShape, text: string | null): Image | null {
  if (text === null) return null;
  const values = parseRecord(text);
  return shape.columns.map((_, index) => values[index] ?? null);
}

export function fromImage(image: Image | null): string | null {
  return image === null ? null : formatRecord(image);
}
