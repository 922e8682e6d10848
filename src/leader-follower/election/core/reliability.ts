import type { NodeId, Term } from '../../../model/node.ts';
import type { ClusterState, LostLeadership } from '../../core/cluster-state.ts';

/** How long a lost leadership speaks against a node, on the clock of who judges. */
export const LOSS_COUNTS_FOR_MS: number = 10 * 60_000;
/** How many lost leaderships the register remembers. */
const REMEMBERED_LOSSES = 8;
/** One failure may happen to the best. */
const FORGIVEN_LOSSES = 1;

/** When this node first read of each lost leadership, by its own monotonic clock. */
export type LossSightings = ReadonlyMap<Term, number>;

/**
 * Notes what the register says and forgets what is old. There is no timestamp in the register, so a loss is
 * as old as the one who judges has known of it.
 */
export function observeLosses(
  seen: LossSightings,
  state: Pick<ClusterState, 'lostLeaderships'> | null,
  nowMs: number,
): LossSightings {
  const losses = state?.lostLeaderships ?? [];
  return new Map(losses.map(({ term }) => [term, seen.get(term) ?? nowMs]));
}

/** How far recent losses speak against `node`: 0 for none and for the one that is forgiven. */
export function lossesOf(
  node: NodeId,
  state: Pick<ClusterState, 'lostLeaderships'> | null,
  seen: LossSightings,
  nowMs: number,
): number {
  const recent = (state?.lostLeaderships ?? []).filter(
    (loss) => loss.node === node && isRecent(loss, seen, nowMs),
  );
  return Math.max(0, recent.length - FORGIVEN_LOSSES);
}

/**
 * What the winner of an election records: the holder before it lost its leadership, unless it handed it over or was
 * stopped in order.
 */
export function lossesForElection(
  state: Pick<ClusterState, 'leadership' | 'lostLeaderships'>,
  seen: LossSightings,
  nowMs: number,
): readonly LostLeadership[] {
  const { holder, term, isReleased, isResigned = false, successor } = state.leadership;
  const kept = (state.lostLeaderships ?? []).filter((loss) => isRecent(loss, seen, nowMs));
  const wasInOrder = isReleased && (successor !== null || isResigned);
  return (wasInOrder ? kept : [...kept, { node: holder, term }]).slice(-REMEMBERED_LOSSES);
}

function isRecent(loss: LostLeadership, seen: LossSightings, nowMs: number): boolean {
  return nowMs - (seen.get(loss.term) ?? nowMs) < LOSS_COUNTS_FOR_MS;
}
