import { majority } from '../../consensus/proposer.ts';
import { lackingIn } from './cells.ts';
import { confirmedBy, withoutForgotten } from './collecting.ts';
import { nextHlc } from './hlc.ts';
import { nodesNeeded } from './levels.ts';
import { runCalls } from './slot-batch.ts';

/**
 * The decisions that safety rests on, as the coordinator is given them. There is one set; it is passed in so that the
 * simulation can break one at a time and must notice.
 */
export interface Rules {
  readonly nodesNeeded: typeof nodesNeeded;
  /** Acceptors that choose a value. */
  readonly majority: typeof majority;
  readonly lackingIn: typeof lackingIn;
  readonly nextHlc: typeof nextHlc;
  readonly runCalls: typeof runCalls;
  /** Whether a promise in hand is still good after a round that did not commit: never, its ballot may carry a value. */
  readonly keepsPromise: (wasProposed: boolean) => boolean;
  readonly confirmedBy: typeof confirmedBy;
  readonly withoutForgotten: typeof withoutForgotten;
  /** Acceptors that must hold a deleted value before any of them forgets it: all. */
  readonly holdersBeforeErase: (nodes: number) => number;
  /** The sets of members of which a majority is needed: while they change, of the old and of the new. */
  readonly setsThatCount: <T>(sets: readonly T[]) => readonly T[];
  /** Whether every key is brought to new members before they count alone. */
  readonly carries: boolean;
}

export const RULES: Rules = {
  nodesNeeded,
  majority,
  lackingIn,
  nextHlc,
  runCalls,
  keepsPromise: () => false,
  confirmedBy,
  withoutForgotten,
  holdersBeforeErase: (nodes) => nodes,
  setsThatCount: (sets) => sets,
  carries: true,
};
