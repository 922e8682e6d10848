import { formatLsn } from '../../model/lsn.ts';
import type { Lsn } from '../../model/lsn.ts';
import { isSharedHistory } from '../../model/timeline.ts';
import type { Timeline, TimelineHistory } from '../../model/timeline.ts';

export interface RejoinView {
  readonly localSystemIdentifier: string;
  readonly clusterSystemIdentifier: string;
  readonly localTimeline: Timeline;
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
  if (isSharedHistory(view.leaderHistory, view.localTimeline, view.localEndLsn)) return { kind: 'follow' };
  const reason = `its timeline ${view.localTimeline} ends at ${formatLsn(view.localEndLsn)}, past the leader's fork to timeline ${view.leaderHistory.timeline}`;
  return view.canRewind && !view.hasRewindFailed ? { kind: 'rewind', reason } : { kind: 'reclone', reason };
}
