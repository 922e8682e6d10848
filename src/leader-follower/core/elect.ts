import type { NodeId } from '../../model/node.ts';
import type { Timeline, TimelineHistory } from '../../model/timeline.ts';
import { comparePositions } from './candidate.ts';
import type { Position } from './candidate.ts';
import { electionQuorum } from './cluster-state.ts';
import type { SyncSet } from './cluster-state.ts';

/** Where a node's log ends, read after it stopped receiving from any leader. */
export interface FencedPosition extends Position {
  readonly node: NodeId;
  /** The newest number that its PostgreSQL knows of, from which a promotion counts on; null when it did not say. */
  readonly newestTimeline: Timeline | null;
}

export interface ElectionView {
  readonly self: NodeId;
  readonly sync: SyncSet;
  /** Who led last: it holds every acknowledged commit, whoever else can be heard. */
  readonly lastHolder: NodeId;
  /** Timeline of the newest completed promotion, null before the first. */
  readonly timeline: Timeline | null;
  /** See Leadership.announcedTimeline. */
  readonly announcedTimeline: Timeline | null;
  /** Own position included. */
  readonly positions: readonly FencedPosition[];
  /** Nodes of priority 0. They still tell their positions. */
  readonly neverLead: readonly NodeId[];
}

export type ElectionDecision =
  | { readonly kind: 'stand'; readonly reason: string }
  | { readonly kind: 'yield'; readonly to: NodeId; readonly reason: string }
  | { readonly kind: 'wait'; readonly reason: string };

/**
 * Whether this node may lead (invariants I2 and I3). It may when, among nodes cut off from the old
 * leader, enough of the sync set were heard that every acknowledged synchronous commit must be on one of
 * them, and this node is the furthest of them on the newest timeline.
 */
export function decideElection(view: ElectionView): ElectionDecision {
  const { neverLead } = view;
  if (neverLead.includes(view.self)) return { kind: 'wait', reason: 'its failoverPriority is 0' };
  const own = view.positions.find((position) => position.node === view.self);
  if (!own) return { kind: 'wait', reason: 'own position is unknown' };
  if (!isOnTimeline(own.history, view.timeline)) {
    return {
      kind: 'wait',
      reason: `own timeline ${own.history.timeline} does not descend from timeline ${view.timeline}`,
    };
  }
  if (view.self === view.lastHolder) return { kind: 'stand', reason: 'led last and holds every commit' };

  const quorum = electionQuorum(view.sync);
  if (view.sync.members.length === 0) {
    return {
      kind: 'wait',
      reason: `no follower is recorded as confirming commits, so only ${view.lastHolder} surely has them all and may lead`,
    };
  }
  const heard = view.positions.filter((position) => view.sync.members.includes(position.node));
  if (heard.length < quorum && !view.positions.some((position) => position.node === view.lastHolder)) {
    const missing = view.sync.members.filter((name) => !heard.some((position) => position.node === name));
    return {
      kind: 'wait',
      reason: `heard ${heard.length} of the ${quorum} sync set members an election needs; missing ${missing.join(', ')}`,
    };
  }
  if (!isNumberFree(view, own)) {
    return {
      kind: 'wait',
      reason: `${view.lastHolder} may have begun timeline ${view.announcedTimeline}, which only it knows, and two must not share a number`,
    };
  }
  // What a node that never leads has more of is given up, unless an acknowledged commit may be among it.
  const mayHoldCommits = [...view.sync.members, view.lastHolder];
  const rivals = view.positions.filter(
    ({ node }) => !neverLead.includes(node) || mayHoldCommits.includes(node),
  );
  const best = newestFirst(rivals, view.timeline)[0];
  if (best === undefined) return { kind: 'wait', reason: 'no candidate is on the newest timeline' };
  if (best.node === view.self || comparePositions(best, own) === 0) {
    return { kind: 'stand', reason: 'has the newest data' };
  }
  if (neverLead.includes(best.node)) {
    return {
      kind: 'wait',
      reason: `only ${best.node} has the newest data, and its failoverPriority is 0; give it a higher one`,
    };
  }
  return { kind: 'yield', to: best.node, reason: `${best.node} has newer data` };
}

/**
 * Whether a promotion here surely takes a number that none took before. PostgreSQL takes the one after the
 * newest that this server knows of, so that it must know of, or be sure of the absence of, the last holder's.
 */
function isNumberFree(view: ElectionView, own: FencedPosition): boolean {
  const { announcedTimeline: announced, timeline: recorded, lastHolder } = view;
  // The recorded one is in the own history.
  if (announced === null || (recorded !== null && recorded >= announced)) return true;
  if (own.newestTimeline === null) return false;
  if (own.newestTimeline >= announced) return true;
  const last = view.positions.find((position) => position.node === lastHolder)?.newestTimeline ?? null;
  return last !== null && last <= own.newestTimeline;
}

/** Those on the newest timeline, by their data, then by name. */
function newestFirst(
  positions: readonly FencedPosition[],
  timeline: Timeline | null,
): readonly FencedPosition[] {
  return positions
    .filter((position) => isOnTimeline(position.history, timeline))
    .toSorted((a, b) => comparePositions(b, a) || (a.node < b.node ? -1 : a.node > b.node ? 1 : 0));
}

function isOnTimeline(history: TimelineHistory, timeline: Timeline | null): boolean {
  return (
    timeline === null ||
    history.timeline === timeline ||
    history.ancestors.some((ancestor) => ancestor.timeline === timeline)
  );
}
