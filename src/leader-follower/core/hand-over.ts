import { formatLsn, lagBytes } from '../../model/lsn.ts';
import type { Lsn } from '../../model/lsn.ts';
import type { NodeId } from '../../model/node.ts';
import type { Timeline } from '../../model/timeline.ts';

/** Where a leader's log ended: its last record, a shutdown checkpoint, begins here. Every commit lies before it. */
export interface FinalPosition {
  readonly timeline: Timeline;
  readonly lsn: Lsn;
}

export type TakeoverDecision =
  { readonly kind: 'take' } | { readonly kind: 'refuse'; readonly reason: string };

/**
 * Whether a switchover's successor may take the register from a leader whose PostgreSQL has ended at
 * `final`. Nobody can hold more of that leader's log than it did itself, so a successor that holds all of it
 * needs to hear nobody else's position, at any durability level.
 */
export function decideTakeover(
  own: { readonly timeline: Timeline; readonly receivedLsn: Lsn },
  final: FinalPosition,
): TakeoverDecision {
  if (own.timeline !== final.timeline) {
    return {
      kind: 'refuse',
      reason: `it is on timeline ${own.timeline}, and the leader ended on timeline ${final.timeline}`,
    };
  }
  // Past the beginning of the checkpoint, not only up to it: else the old leader would hold a record that this one lacks.
  if (own.receivedLsn <= final.lsn) {
    return {
      kind: 'refuse',
      reason: `it has received up to ${formatLsn(own.receivedLsn)}, and the leader's log ends past ${formatLsn(final.lsn)}`,
    };
  }
  return { kind: 'take' };
}

/** A follower as a switchover weighs it. */
export interface SuccessorView {
  readonly name: NodeId;
  readonly isStreaming: boolean;
  readonly isSynchronous: boolean;
  readonly flushLsn: Lsn | null;
  /** Null when its agent did not say. */
  readonly replayedLsn: Lsn | null;
}

export type SuccessorDecision =
  | { readonly kind: 'ready'; readonly to: NodeId }
  /** It may be ready soon: look again for a bounded time. */
  | { readonly kind: 'wait'; readonly reason: string }
  | { readonly kind: 'impossible'; readonly reason: string };

/** What a successor may still have to receive or replay when writes stop: some milliseconds' worth. */
export const HAND_OVER_LAG_BYTES = 1_048_576;

/** Who takes over: the wanted node, or else the synchronous follower that is the furthest. */
export function decideSuccessor(
  followers: readonly SuccessorView[],
  wanted: NodeId | null,
  leaderLsn: Lsn,
): SuccessorDecision {
  const candidates = followers.filter((follower) => wanted === null || follower.name === wanted);
  const streaming = candidates.filter((follower) => follower.isStreaming && follower.isSynchronous);
  if (streaming.length === 0) {
    return candidates.some((follower) => follower.isStreaming)
      ? {
          kind: 'wait',
          reason: wanted === null ? 'no follower is in the sync set' : `${wanted} is not in the sync set`,
        }
      : { kind: 'impossible', reason: wanted === null ? 'no follower streams' : `${wanted} does not stream` };
  }
  const ranked = streaming
    .map((follower) => ({ name: follower.name, behind: behindBytes(follower, leaderLsn) }))
    .toSorted((a, b) => a.behind - b.behind || (a.name < b.name ? -1 : 1));
  const [best] = ranked;
  if (best !== undefined && best.behind <= HAND_OVER_LAG_BYTES) return { kind: 'ready', to: best.name };
  const behind = Number.isFinite(best?.behind) ? `${best?.behind} bytes behind` : 'silent';
  return { kind: 'wait', reason: `${best?.name} is ${behind}` };
}

function behindBytes(follower: SuccessorView, leaderLsn: Lsn): number {
  if (follower.flushLsn === null || follower.replayedLsn === null) return Number.POSITIVE_INFINITY;
  const furthest = follower.flushLsn < follower.replayedLsn ? follower.flushLsn : follower.replayedLsn;
  return furthest >= leaderLsn ? 0 : lagBytes(leaderLsn, furthest);
}

/** A node that a switchover leaves a follower. */
export interface Bystander {
  readonly name: NodeId;
  readonly isMember: boolean;
}

/**
 * Who is asked to let go of the leader already while it ends its log, so as to be free to follow the successor when
 * that is elected. The successor receives the rest of the log in any case. Who lets go supports the leader no more:
 * it keeps as many members as it needs, `supportersNeeded`, the successor among them.
 */
export function letGoFirst(
  bystanders: readonly Bystander[],
  isSuccessorMember: boolean,
  supportersNeeded: number,
): readonly NodeId[] {
  let kept = isSuccessorMember ? 1 : 0;
  return bystanders
    .filter(({ isMember }) => {
      const isKept = isMember && kept < supportersNeeded;
      if (isKept) kept += 1;
      return !isKept;
    })
    .map(({ name }) => name);
}
