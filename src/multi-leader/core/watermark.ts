import { isSurelyOlder, versionOf } from './row-rule.ts';
import type { MissingRow, PresentRow } from './row-rule.ts';
import { supersedes } from './version.ts';
import type { Version } from './version.ts';

/**
 * Below it nothing can come any more: the lowest promise over all regions, one's own too; null before each has made one.
 * A region promises a time by taking its clock, waiting for all transactions running then, and only then writing the
 * promise into its log: whoever has read the log up to there gets nothing of it that is older.
 */
export function lowestPromise(
  regions: readonly number[],
  promised: ReadonlyMap<number, number>,
): number | null {
  let lowest: number | null = null;
  for (const region of regions) {
    const timeUs = promised.get(region);
    if (timeUs === undefined) return null;
    lowest = lowest === null ? timeUs : Math.min(lowest, timeUs);
  }
  return lowest;
}

/**
 * Whether the note of an applied row may go: then the row is settled, and everything that still comes is newer. The
 * simulation goes by it; the region's own condition is in SQL (own/pruner.ts).
 */
export function mayForgetRecord(batchTimeUs: number, lowestUs: number): boolean {
  return batchTimeUs < lowestUs;
}

export type TombstoneFate = 'keep' | 'forget' | 'delete-row';

/**
 * What becomes of a tombstone. Before it is forgotten its row is looked at once more: a delete that met a commit which
 * was shipped but not yet visible here passed it by, and this is the last moment to notice. A settled row counts as
 * older only by its recorded time: a version that is not known may be above the tombstone.
 */
export function judgeTombstone(
  tombstone: Version,
  row: PresentRow | MissingRow,
  lowestUs: number,
  ownRegion: number,
): TombstoneFate {
  if (tombstone.timeUs >= lowestUs) return 'keep';
  if (row.kind === 'missing') return 'forget';
  const known = versionOf(row, ownRegion);
  const isOlder =
    isSurelyOlder(row.committedUs, tombstone) || (known !== null && !supersedes(known, tombstone));
  return isOlder ? 'delete-row' : 'forget';
}
