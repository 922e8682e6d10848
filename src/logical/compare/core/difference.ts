import type { Key } from './compare-sql.ts';

export type DifferenceKind = 'missing' | 'extra' | 'different';

/** A row that the target lacks, has beside the source's, or has with other values. */
export interface Difference {
  readonly kind: DifferenceKind;
  readonly key: Key;
}

/** Hashes of rows by their key; {@link nameOf} makes the key. */
export type RowHashes = ReadonlyMap<string, { readonly key: Key; readonly hash: string }>;

export function nameOf(key: Key): string {
  return JSON.stringify(key);
}

/** Over the rows of one bucket of a range. */
export interface BucketSums {
  readonly bucket: string;
  readonly count: string;
  readonly one: string;
  readonly two: string;
}

/** Buckets whose rows are not the same on both sides. */
export function differingBuckets(source: readonly BucketSums[], target: readonly BucketSums[]): number[] {
  const there = new Map(target.map((sums) => [sums.bucket, sums]));
  const found: number[] = [];
  for (const { bucket, count, one, two } of source) {
    const sums = there.get(bucket);
    if (sums?.count !== count || sums.one !== one || sums.two !== two) found.push(Number(bucket));
    there.delete(bucket);
  }
  return [...found, ...[...there.keys()].map(Number)];
}

/** Of all buckets. */
export function countRows(sums: readonly BucketSums[]): number {
  return sums.reduce((rows, { count }) => rows + Number(count), 0);
}

/** Keys whose rows are not the same on both sides. */
export function suspects(source: RowHashes, target: RowHashes): Key[] {
  const found: Key[] = [];
  for (const [name, { key, hash }] of source) if (target.get(name)?.hash !== hash) found.push(key);
  for (const [name, { key }] of target) if (!source.has(name)) found.push(key);
  return found;
}

/**
 * What a second look says of one row: the source's hash before and after the target was read, null where there is
 * no row. The target had everything by then that the source had at first. `changing`: somebody writes the row, so it has to
 * be looked at again.
 */
export function judge(
  before: string | null,
  target: string | null,
  after: string | null,
): DifferenceKind | 'same' | 'changing' {
  if (target === before || target === after) return 'same';
  if (before !== after) return 'changing';
  if (target === null) return 'missing';
  return before === null ? 'extra' : 'different';
}
