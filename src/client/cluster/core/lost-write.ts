import type { Lsn } from '../../../model/lsn.ts';
import type { Timeline } from '../../../model/timeline.ts';

/** A session's newest write that was acknowledged without waiting for a follower. */
export interface UnconfirmedWrite {
  readonly timeline: Timeline;
  /** The leader's log was here when the write was acknowledged: its commit is not past it. */
  readonly lsn: Lsn;
  /** The leader's log was here before the write was sent, so its commit is past it; null when not known. */
  readonly after: Lsn | null;
}

/** What is known of the position at which the present history left an older timeline. */
export interface ForkBounds {
  readonly atLeast: Lsn | null;
  readonly atMost: Lsn | null;
}

/** A follower as it was last seen before it led. */
export interface FollowerPosition {
  readonly timeline: number | null;
  readonly receivedLsn: Lsn | null;
}

export interface Fork {
  readonly timeline: number;
  readonly forkedAt: Lsn;
}

export type WriteFate = 'kept' | 'lost' | 'maybe-lost';

/**
 * Whether a write survived a failover: history up to the fork is shared, the rest of the old timeline is
 * gone.
 */
export function judgeWrite(write: UnconfirmedWrite, fork: ForkBounds): WriteFate {
  if (fork.atLeast !== null && write.lsn <= fork.atLeast) return 'kept';
  if (fork.atMost !== null && write.after !== null && write.after >= fork.atMost) return 'lost';
  return 'maybe-lost';
}

const UNKNOWN_FORK: ForkBounds = { atLeast: null, atMost: null };

/**
 * The fork as agents tell it: `ancestors` are the newest ones of the leader's timeline, oldest first. What
 * is none of them was left altogether, unless it is older than what the list reaches back to.
 */
export function forkByAncestors(timeline: number, ancestors: readonly Fork[]): ForkBounds {
  const fork = ancestors.find((ancestor) => ancestor.timeline === timeline);
  if (fork !== undefined) return { atLeast: fork.forkedAt, atMost: fork.forkedAt };
  const oldest = ancestors[0];
  return oldest !== undefined && timeline > oldest.timeline
    ? { atLeast: null, atMost: 0n as Lsn }
    : UNKNOWN_FORK;
}

/**
 * The fork as far as probes tell it: what a follower had received of a timeline before it started the next
 * one is shared, and the fork is not past where it was first seen writing. Several timelines further, it
 * may have been rewound in between.
 */
export function forkByProbes(
  before: FollowerPosition | null,
  led: { readonly timeline: number; readonly lsn: Lsn | null },
): ForkBounds {
  const isNext = before?.timeline != null && led.timeline === before.timeline + 1;
  return { atLeast: isNext ? before.receivedLsn : null, atMost: led.lsn };
}
