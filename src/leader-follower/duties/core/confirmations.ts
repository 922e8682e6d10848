import type { Lsn } from '../../../model/lsn.ts';
import type { StreamingFollower } from '../../core/sync-set.ts';

/** Since when the leader's commits have been waiting, and for what. */
export interface Waiting {
  /** Positions of the leader, as they were: the first that is not confirmed yet. */
  readonly lsn: Lsn;
  readonly sinceMs: number;
}

/** Up to where `required` followers have confirmed; null when fewer are there. */
export function confirmedLsn(followers: readonly StreamingFollower[], required: number): Lsn | null {
  const confirmed = followers
    .flatMap(({ flushLsn }) => (flushLsn === null ? [] : [flushLsn]))
    .toSorted((a, b) => (a < b ? 1 : a > b ? -1 : 0));
  return confirmed[required - 1] ?? null;
}

/** What the leader waits for after one more look; null when all that was there at the last look is confirmed. */
export function observeWaiting(
  before: Waiting | null,
  leaderLsn: Lsn,
  confirmed: Lsn | null,
  nowMs: number,
): Waiting | null {
  if (before !== null && (confirmed === null || confirmed < before.lsn)) return before;
  return confirmed !== null && confirmed >= leaderLsn ? null : { lsn: leaderLsn, sinceMs: nowMs };
}
