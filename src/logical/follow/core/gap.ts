import { formatLsn } from '../../../model/lsn.ts';
import type { Lsn } from '../../../model/lsn.ts';
import { isSharedHistory } from '../../../model/timeline.ts';
import type { TimelineHistory } from '../../../model/timeline.ts';

/** Where a follow is, and what of the source it would go on with. */
export interface FollowPlace {
  readonly position: Lsn;
  /** The source's past that the position is of; null where it was not noted. */
  readonly history: TimelineHistory | null;
  readonly slot: { readonly confirmedLsn: Lsn; readonly isLost: boolean } | null;
  readonly source: { readonly flushedLsn: Lsn; readonly history: TimelineHistory };
}

/**
 * Why a follow cannot simply go on, as a sentence; null when it can. A position is compared with the source's log only
 * within a past that both share: after a failover the new leader's log soon passes a position that it never had.
 */
export function findGap({ position, history, slot, source }: FollowPlace): string | null {
  const here = formatLsn(position);
  if (history !== null && !isSharedHistory(source.history, history, position))
    return `The source has failed over, and its new leader lacks what the target has up to ${here}.`;
  if (position > source.flushedLsn)
    return `The target is at ${here}, further than the source: that lost commits.`;
  if (slot === null) return 'The slot is gone from the source, and with it changes may be.';
  if (slot.isLost) return 'The source has dropped log that the slot needed (max_slot_wal_keep_size).';
  if (slot.confirmedLsn > position)
    return `The target is at ${here}, before what the source still has: it lost commits.`;
  return null;
}
