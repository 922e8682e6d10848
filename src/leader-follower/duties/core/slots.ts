import type { Lsn } from '../../../model/lsn.ts';
import type { NodeId } from '../../../model/node.ts';

/** One of our physical replication slots, as pg_replication_slots shows it. */
export interface Slot {
  readonly node: NodeId;
  /** A walsender uses it, and moves it. */
  readonly isActive: boolean;
  /** Past max_slot_wal_keep_size: what it kept is gone for good. */
  readonly isLost: boolean;
  /** The log is kept from here on; null when it keeps none. */
  readonly restartLsn: Lsn | null;
}

export interface SlotsView {
  readonly slots: readonly Slot[];
  /** Whom this node keeps log for. */
  readonly wanted: readonly NodeId[];
  /** What follows holds for a follower only: a leader's slots are moved by those that stream. */
  readonly follower: {
    /** Where this node would begin to replay after a crash: it keeps its log from here on whatever its slots say. */
    readonly redoLsn: Lsn;
    /** How far each other node is, as it told last, received *and* replayed; one that never told is missing. */
    readonly heldByPeers: ReadonlyMap<NodeId, Lsn>;
  } | null;
  /** As a leader: how far those are that stream from another follower, and move no slot here. */
  readonly fedByOthers?: ReadonlyMap<NodeId, Lsn>;
}

export type SlotStep =
  | { readonly kind: 'drop'; readonly node: NodeId }
  /** From {@link SlotsView.follower}'s `redoLsn`, or a leader's. */
  | { readonly kind: 'create'; readonly node: NodeId }
  | { readonly kind: 'advance'; readonly node: NodeId; readonly to: Lsn };

/**
 * What makes this node's slots right. A follower holds them too, so that the log which the others still
 * lack is there from the first moment it leads. There they move to what the other node said it holds, and
 * never past this node's own redo position: so they keep nothing that would not be kept anyway, unless a
 * node lags, and pg_rewind finds the log since the last checkpoint before the fork.
 */
export function decideSlots(view: SlotsView): readonly SlotStep[] {
  const { slots, follower } = view;
  const steps: SlotStep[] = [];
  const missing = new Set(view.wanted);
  for (const slot of slots) {
    const isWanted = missing.delete(slot.node);
    if (slot.isActive) continue;
    if (!isWanted) {
      steps.push({ kind: 'drop', node: slot.node });
      continue;
    }
    const target =
      follower === null ? (view.fedByOthers?.get(slot.node) ?? null) : targetOf(slot.node, follower);
    // One past its cap is lost for good: its node is cloned anew and gets a fresh one. One that was moved
    // while this node led may begin later than its node needs after a rewind, and cannot be moved back.
    const beginsLate = follower !== null && slot.restartLsn !== null && slot.restartLsn > follower.redoLsn;
    if (slot.isLost || beginsLate) {
      steps.push({ kind: 'drop', node: slot.node }, { kind: 'create', node: slot.node });
    } else if (target !== null && slot.restartLsn !== null && slot.restartLsn < target) {
      steps.push({ kind: 'advance', node: slot.node, to: target });
    }
  }
  for (const node of missing) steps.push({ kind: 'create', node });
  return steps;
}

function targetOf(node: NodeId, follower: NonNullable<SlotsView['follower']>): Lsn | null {
  const held = follower.heldByPeers.get(node);
  if (held === undefined) return null;
  return held < follower.redoLsn ? held : follower.redoLsn;
}
