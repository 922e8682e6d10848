/** What a link finds before it reads: of its source, and of how far this region is with the source's log. */
export interface LinkPositions {
  /** The source has made all its slots once. */
  readonly isFounded: boolean;
  /** The source has found that it was put back, by what others have let go of. */
  readonly wentBack: boolean;
  /** What this region's slot there has let go of; null without the slot. */
  readonly letGo: bigint | null;
  /** Where the source's log ends. */
  readonly end: bigint;
  /** How far it was applied here; 0 before anything was. */
  readonly applied: bigint;
}

/**
 * Whether a link may go on from where it was. A region that was put back to an earlier state, from a backup or a copy of its
 * disk, lacks what others have of it or what they have let go of: going on would lose that in silence.
 */
export function judgePositions({
  isFounded,
  wentBack,
  letGo,
  end,
  applied,
}: LinkPositions): 'go' | 'not-ready' | 'slot-gone' | 'source-went-back' | 'target-went-back' {
  // The log's end is past it again after a while.
  if (wentBack || applied > end) return 'source-went-back';
  if (letGo === null) return isFounded ? 'slot-gone' : 'not-ready';
  // Nothing is let go of that was not applied and noted here first. Before the first time the slot says where it began.
  return applied > 0n && letGo > applied ? 'target-went-back' : 'go';
}
