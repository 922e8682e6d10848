import { formatLsn } from '../../model/lsn.ts';
import type { Lsn } from '../../model/lsn.ts';
import { isSharedHistory, sharedUntil } from '../../model/timeline.ts';
import type { TimelineFork, TimelineHistory } from '../../model/timeline.ts';

export interface RejoinView {
  readonly localSystemIdentifier: string;
  readonly clusterSystemIdentifier: string;
  readonly localHistory: TimelineHistory;
  /** The end of the local log: everything this node may have that the leader has not. */
  readonly localEndLsn: Lsn;
  readonly leaderHistory: TimelineHistory;
  readonly canRewind: boolean;
  /** A rewind of this data folder already failed: do not loop on it. */
  readonly hasRewindFailed: boolean;
}

export type RejoinDecision =
  | { readonly kind: 'follow' }
  | { readonly kind: 'rewind'; readonly reason: string }
  | { readonly kind: 'reclone'; readonly reason: string }
  | { readonly kind: 'refuse'; readonly reason: string };

/**
 * How a node with data may stream from the leader (invariant I3: never two histories joined). Decided by
 * ancestry: what this node has past the point where the leader's history left its timeline would be a
 * second history.
 */
export function decideRejoin(view: RejoinView): RejoinDecision {
  if (view.localSystemIdentifier !== view.clusterSystemIdentifier) {
    return {
      kind: 'refuse',
      reason: `the data folder belongs to another cluster (system identifier ${view.localSystemIdentifier}, this cluster has ${view.clusterSystemIdentifier})`,
    };
  }
  if (isSharedHistory(view.leaderHistory, view.localHistory, view.localEndLsn)) return { kind: 'follow' };
  const { timeline } = view.localHistory;
  // pg_rewind tells histories apart by their timeline's number alone.
  const canRewind = view.canRewind && !view.hasRewindFailed && timeline !== view.leaderHistory.timeline;
  const reason = `its timeline ${timeline} ends at ${formatLsn(view.localEndLsn)}, past the leader's fork to timeline ${view.leaderHistory.timeline}`;
  return canRewind ? { kind: 'rewind', reason } : { kind: 'reclone', reason };
}

/** The part of a node's log that is no part of the leader's history. */
export interface LostLog {
  /** Where the two histories part. */
  readonly fork: TimelineFork;
  readonly endLsn: Lsn;
}

/** What a rewind or a new copy takes away from this node; null when the leader has it all. */
export function lostLog(
  localHistory: TimelineHistory,
  localEndLsn: Lsn,
  leaderHistory: TimelineHistory,
): LostLog | null {
  if (isSharedHistory(leaderHistory, localHistory, localEndLsn)) return null;
  const fork = sharedUntil(localHistory, leaderHistory);
  return fork === null || localEndLsn <= fork.forkedAt ? null : { fork, endLsn: localEndLsn };
}
