/** What taking out names of registers that changed again came to, for one page of transactions. */
export interface TrimmedPage {
  /** How many there were. */
  readonly names: number;
  /** How many of them still are of the change that they are named for. */
  readonly kept: number;
  /** Where the next page begins. */
  readonly next: number;
  /** Nothing is behind it yet. */
  readonly isWhole: boolean;
}

/** How far a process has gone through a node's names. */
export interface Trimming {
  readonly from: number;
  /** Of what it went through. */
  readonly kept: number;
  /** Named since it was through for the first time: each may have put one out of date that was kept before. */
  readonly added: number;
  readonly isThrough: boolean;
}

export const TRIMMING_BEGINS: Trimming = { from: 0, kept: 0, added: 0, isThrough: false };

/** Begins anew when as much was added as was kept: so the names are at most about twice the rows, and each is looked at seldom. */
export function trimOn(trimming: Trimming, { names, kept, next, isWhole }: TrimmedPage): Trimming {
  const { isThrough } = trimming;
  const added = isThrough ? trimming.added + names : 0;
  const total = trimming.kept + kept;
  if (isThrough && isWhole && added > total) return TRIMMING_BEGINS;
  return { from: next, kept: total, added, isThrough: isThrough || isWhole };
}
