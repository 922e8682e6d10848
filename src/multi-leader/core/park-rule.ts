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
