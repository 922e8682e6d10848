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
