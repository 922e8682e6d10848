import type { VersionedValue } from '../../consensus/acceptor.ts';
import type { Ballot } from '../../consensus/ballot.ts';
import { extendLineage, judgeBallot } from './lineage.ts';
import { fromProposal } from './slot-value.ts';
import type { SlotValue } from './slot-value.ts';
import type { Lineage } from './lineage.ts';

/** A key's value as callers see it. */
export interface SlotState {
  /** Grows with each change; 0 is never written, or deleted so long ago that it was erased. */
  readonly version: number;
  /** JSON text; null when there is none. */
  readonly value: string | null;
  readonly lineage: Lineage;
}

/** What a call does to the value: the new one (null takes it away), or undefined to leave it. Must be pure. */
export type SlotChange = (current: SlotState) => string | null | undefined;

export type CallResult =
  | { readonly kind: 'applied'; readonly state: SlotState }
  /** The function left the value alone, or threw. */
  | { readonly kind: 'not-applied'; readonly state: SlotState; readonly thrown?: unknown };

/** One caller's change on its way through rounds. */
export interface Call {
  readonly change: SlotChange;
  /** The rounds that proposed it and did not see a quorum, with what it would have been answered. */
  doubts: readonly { readonly ballot: Ballot; readonly result: CallResult }[];
}

/** Calls that one round answers. A version counts them up, and starts above whatever a lower ballot could have counted to. */
export const MAX_CALLS = 1_024;

/**
 * Runs all calls on the current value, one after another. A call in doubt is not run again when the value was built on
 * its earlier proposal. Gives the proposal and each call's answer should it be chosen; null for one of which nobody can
 * tell any more whether it was.
 */
export function runCalls(
  calls: readonly Call[],
  current: VersionedValue,
  ballot: Ballot,
): { readonly proposal: VersionedValue; readonly results: readonly (CallResult | null)[] } {
  const slot = fromProposal(current);
  let state: SlotState = { version: current.version, ...slot };
  const results = calls.map((call): CallResult | null => {
    const judged = call.doubts.map(({ ballot }) => judgeBallot(slot.lineage, ballot));
    const earlier = call.doubts[judged.indexOf('applied')];
    if (earlier !== undefined) return earlier.result;
    if (judged.includes('unknown')) return null;
    const result = runChange(call.change, state, ballot);
    state = result.state;
    return result;
  });
  const value: SlotValue = { value: state.value, lineage: extendLineage(slot.lineage, ballot) };
  return { proposal: { version: state.version, value }, results };
}

function runChange(change: SlotChange, state: SlotState, ballot: Ballot): CallResult {
  let value: string | null | undefined;
  try {
    value = change(state);
  } catch (thrown) {
    return { kind: 'not-applied', state, thrown };
  }
  if (value === undefined) return { kind: 'not-applied', state };
  // Each ballot counts at most MAX_CALLS up: a key that was erased and is made anew never has a version that it had before.
  const before = state.version === 0 ? (ballot.counter - 1) * MAX_CALLS : state.version;
  return { kind: 'applied', state: { ...state, version: before + 1, value } };
}

/** Which of a call's proposals was chosen, as the value of a higher ballot tells; `unknown` when it tells too little. */
export function judgeDoubts(
  doubts: readonly Ballot[],
  current: VersionedValue,
): 'applied' | 'not-applied' | 'unknown' {
  const { lineage } = fromProposal(current);
  const judged = doubts.map((ballot) => judgeBallot(lineage, ballot));
  if (judged.includes('applied')) return 'applied';
  return judged.includes('unknown') ? 'unknown' : 'not-applied';
}
