import { majority } from '../../consensus/proposer.ts';
import { lackingIn } from './cells.ts';
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
}

export const RULES: Rules = {
  nodesNeeded,
  majority,
  lackingIn,
  nextHlc,
  runCalls,
  keepsPromise: () => false,
};
