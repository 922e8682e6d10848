import type { Lsn } from '../../../model/lsn.ts';
import type { StreamingFollower } from '../../core/sync-set.ts';

/** Whether a follower confirms within the time that a policy gives it. */
export interface Pace {
  readonly isOnTime: boolean;
  /** The first position of the leader that it has not confirmed, and since when; null when it has all. */
  readonly behind: { readonly lsn: Lsn; readonly sinceMs: number } | null;
  /** Of one that was late: since when it has kept up again. */
  readonly keepsUpSinceMs: number | null;
}

/** Who was late is waited for again after it kept up for so long. */
const KEEPS_UP_MS = 1_000;

export function beginPace(isOnTime: boolean): Pace {
  return { isOnTime, behind: null, keepsUpSinceMs: null };
}

/**
 * A pace after one more look. `follower` is undefined while it is not connected: it confirms nothing then. A follower that hangs
 * stays late for ever, also while nothing is written.
 */
export function observePace(
  before: Pace,
  leaderLsn: Lsn,
  follower: StreamingFollower | undefined,
  degradeAfterMs: number,
  nowMs: number,
): Pace {
  const confirmed = follower?.flushLsn ?? null;
  const behind = observeBehind(before.behind, leaderLsn, confirmed, nowMs);
  const behindMs = behind === null ? 0 : nowMs - behind.sinceMs;
  if (behindMs >= degradeAfterMs) return { isOnTime: false, behind, keepsUpSinceMs: null };
  if (before.isOnTime) return { isOnTime: true, behind, keepsUpSinceMs: null };
  const keepsUp = follower?.isStreaming === true && behindMs < degradeAfterMs / 2;
  const keepsUpSinceMs = keepsUp ? (before.keepsUpSinceMs ?? nowMs) : null;
  const isOnTime = keepsUpSinceMs !== null && nowMs - keepsUpSinceMs >= KEEPS_UP_MS;
  return { isOnTime, behind, keepsUpSinceMs };
}

function observeBehind(
  before: Pace['behind'],
  leaderLsn: Lsn,
  confirmed: Lsn | null,
  nowMs: number,
): Pace['behind'] {
  if (before !== null && (confirmed === null || confirmed < before.lsn)) return before;
  return confirmed !== null && confirmed >= leaderLsn ? null : { lsn: leaderLsn, sinceMs: nowMs };
}
