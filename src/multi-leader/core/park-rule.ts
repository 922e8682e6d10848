import { versionOf } from './row-rule.ts';
import type { PresentRow } from './row-rule.ts';
import { supersedes } from './version.ts';
import type { Version } from './version.ts';

/**
 * Whether a row may take its unique values from those that hold them: only when it is later than each. The others are put
 * aside and come back when the value is free; dropping or refusing them would leave regions with different rows, because
 * who came first differs.
 */
export function mayTakeValues(candidate: Version, holders: readonly Version[]): boolean {
  return holders.every((holder) => supersedes(candidate, holder));
}

/** Whether a row that is aside is to be tried again, or is over: its key was written or deleted since. */
export function judgeAside(
  aside: Version,
  row: PresentRow | null,
  tombstone: Version | null,
  ownRegion: number,
): 'try' | 'forget' {
  const isDeleted = tombstone !== null && !supersedes(aside, tombstone);
  const isWritten = row !== null && !supersedes(aside, versionOf(row, ownRegion));
  return isDeleted || isWritten ? 'forget' : 'try';
}
