import type pg from 'pg';
import { quoteIdentifier } from '../logical/core/quote.ts';
import { SET_SESSION } from './merge/journal-store.ts';
import { quoteShape } from './tables/shape.ts';
import type { TableShape } from './tables/shape.ts';

/** One row that is not the same everywhere. */
export interface RowDifference {
  readonly table: string;
  /** As text, by the columns of the primary key. */
  readonly key: readonly string[];
  /** Region names, with the row as text; null where there is none. */
  readonly rows: Readonly<Record<string, string | null>>;
}

/** Part of `lockstep regions compare --json`. */
export interface TableComparison {
  readonly table: string;
  readonly rows: Readonly<Record<string, number>>;
  readonly isEqual: boolean;
}

export interface Comparison {
  readonly isEqual: boolean;
  readonly tables: readonly TableComparison[];
  /** The first of them. */
  readonly differences: readonly RowDifference[];
}

export interface ComparedRegion {
  readonly name: string;
  readonly client: pg.Client;
}

const BUCKETS = 256;
const MAX_DIFFERENCES = 20;
type Bucket = { readonly bucket: number; readonly count: number; readonly sum: string };

/**
 * Compares all shared tables row by row: sums of hashes first, by buckets of keys, then the rows of those that differ.
 * What is under way between the regions shows as a difference; see {@link compareSettled}.
 */
export async function compareRegions(
  regions: readonly ComparedRegion[],
  shapes: readonly TableShape[],
): Promise<Comparison> {
  await Promise.all(regions.map(({ client }) => client.query(SET_SESSION)));
  const tables: TableComparison[] = [];
  const differences: RowDifference[] = [];
  for (const shape of shapes) {
    const sums = await Promise.all(regions.map(({ client }) => readBuckets(client, shape)));
    const rows = Object.fromEntries(
      regions.map(({ name }, index) => [
        name,
        (sums[index] ?? []).reduce((sum, { count }) => sum + count, 0),
      ]),
    );
    const differing = findDifferingBuckets(sums);
    tables.push({ table: shape.name, rows, isEqual: differing.length === 0 });
    for (const bucket of differing.slice(0, MAX_DIFFERENCES)) {
      if (differences.length >= MAX_DIFFERENCES) break;
      differences.push(...(await readDifferences(regions, shape, bucket)));
    }
  }
  return {
    isEqual: tables.every(({ isEqual }) => isEqual),
    tables,
    differences: differences.slice(0, MAX_DIFFERENCES),
  };
}

/** By format(), which writes a value as its type does: a cast of its owner's to text would run with the rights of who compares. */
function keyText(shape: TableShape): string {
  const columns = shape.key.map(
    (position) => `format('%s', t.${quoteIdentifier(shape.columns[position]?.name ?? '')})`,
  );
  return `ARRAY[${columns.join(', ')}]`;
}

/** Without what each region holds its part of. By column names, so that another order of columns is no difference. */
function rowText(shape: TableShape): string {
  const parts = new Set(shape.held.map(({ position }) => position));
  const columns = shape.columns
    .filter((_, position) => !parts.has(position))
    .map(({ name }) => name)
    .toSorted()
    .map((name) => `t.${quoteIdentifier(name)}`);
  return `ROW(${columns.join(', ')})::text`;
}

function bucketOf(shape: TableShape): string {
  return `(hashtextextended(${keyText(shape)}::text, 0) & ${BUCKETS - 1})::int`;
}

async function readBuckets(client: pg.Client, shape: TableShape): Promise<readonly Bucket[]> {
  // Sums of two hashes with different seeds in one number: what is missing here does not cancel what is too much.
  const { rows } = await client.query<Bucket>(
    `SELECT ${bucketOf(shape)} AS bucket, count(*)::int AS count,
            sum(hashtextextended(${rowText(shape)}, 1)::numeric)::text || '/' ||
            sum(hashtextextended(${rowText(shape)}, 2)::numeric)::text AS sum
     FROM ${quoteShape(shape)} t GROUP BY 1`,
  );
  return rows;
}

function findDifferingBuckets(sums: readonly (readonly Bucket[])[]): number[] {
  const all = new Set(sums.flatMap((buckets) => buckets.map(({ bucket }) => bucket)));
  const said = sums.map(
    (buckets) => new Map(buckets.map(({ bucket, count, sum }) => [bucket, `${count}:${sum}`])),
  );
  return [...all].filter((bucket) => said.some((one) => one.get(bucket) !== said[0]?.get(bucket)));
}

async function readDifferences(
  regions: readonly ComparedRegion[],
  shape: TableShape,
  bucket: number,
): Promise<RowDifference[]> {
  const found = await Promise.all(
    regions.map(async ({ client }) => {
      const { rows } = await client.query<{ key: string[]; row: string }>(
        `SELECT ${keyText(shape)} AS key, ${rowText(shape)} AS row FROM ${quoteShape(shape)} t WHERE ${bucketOf(shape)} = $1`,
        [bucket],
      );
      return new Map(rows.map(({ key, row }) => [JSON.stringify(key), row]));
    }),
  );
  const keys = new Set(found.flatMap((rows) => [...rows.keys()]));
  return [...keys]
    .filter((key) => found.some((rows) => rows.get(key) !== found[0]?.get(key)))
    .map((key) => ({
      table: shape.name,
      key: JSON.parse(key) as string[],
      rows: Object.fromEntries(regions.map(({ name }, index) => [name, found[index]?.get(key) ?? null])),
    }));
}

/**
 * Compares until one look finds the regions equal, or the deadline has passed. Where writing goes on, changes are always
 * under way: of the last two looks only what was different in both, and the same way, is told as a difference.
 */
export async function compareSettled(
  regions: readonly ComparedRegion[],
  shapes: readonly TableShape[],
  options: { readonly patienceMs: number; readonly pause: () => Promise<void> },
): Promise<Comparison> {
  const deadlineMs = performance.now() + options.patienceMs;
  let before = await compareRegions(regions, shapes);
  while (!before.isEqual) {
    await options.pause();
    const now = await compareRegions(regions, shapes);
    if (now.isEqual) return now;
    if (performance.now() > deadlineMs) return keepStanding(before, now);
    before = now;
  }
  return before;
}

function keepStanding(before: Comparison, now: Comparison): Comparison {
  const same = new Set(before.differences.map((one) => JSON.stringify(one)));
  const standing = now.differences.filter((one) => same.has(JSON.stringify(one)));
  // More than are listed: what is not listed cannot be told apart.
  if (standing.length > 0 || now.differences.length >= MAX_DIFFERENCES)
    return { ...now, differences: standing };
  return { isEqual: true, tables: now.tables.map((table) => ({ ...table, isEqual: true })), differences: [] };
}
