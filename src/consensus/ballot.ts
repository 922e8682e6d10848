/**
 * Orders proposals. `proposer` is new for every start of a process, so that a proposer that forgot what it
 * proposed can never use one ballot for a second value.
 */
export interface Ballot {
  readonly counter: number;
  readonly proposer: string;
}

/** Below every ballot a proposer uses. */
export const ZERO_BALLOT: Ballot = { counter: 0, proposer: '' };

/** Negative, zero or positive: by counter, then by proposer. */
export function compareBallots(a: Ballot, b: Ballot): number {
  if (a.counter !== b.counter) return a.counter - b.counter;
  return a.proposer < b.proposer ? -1 : a.proposer > b.proposer ? 1 : 0;
}
