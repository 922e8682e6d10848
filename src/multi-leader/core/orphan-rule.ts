import type { Version } from './version.ts';

/** What becomes of a row whose parent is missing when regions put their writes together. */
export type OrphanRule = 'restore-parent' | 'delete-orphan';

/** A row that came without its parent, as it is found now. */
export interface SuspectedOrphan {
  /** Recorded of whoever wrote it last here; null when it is settled. */
  readonly committedUs: number | null;
  readonly hasParent: boolean;
  /** The parent stands aside, because a later row holds one of its unique values: it comes back. */
  readonly isParentAside: boolean;
  /** When this region deleted the parent; null where another one did, or where the parent is on its way. */
  readonly removed: Version | null;
}

/**
 * Judged by the region that deleted the parent, so that one acts and not all of them. Never at once: the parent may be
 * on its way, and so may the row's own delete. Below `lowestUs` nothing comes any more.
 */
export function judgeOrphan(
  { committedUs, hasParent, isParentAside, removed }: SuspectedOrphan,
  lowestUs: number,
): 'over' | 'wait' | 'act' {
  if (hasParent) return 'over';
  if (isParentAside || removed === null) return 'wait';
  const isSettled = (committedUs === null || committedUs < lowestUs) && removed.timeUs < lowestUs;
  return isSettled ? 'act' : 'wait';
}
