import type { AcceptorState } from '../../../src/consensus/acceptor.ts';
import { compareBallots } from '../../../src/consensus/ballot.ts';
import { joinCells } from '../../../src/leaderless/core/cells.ts';
import { isForgettable, isForgotten, isTooLate } from '../../../src/leaderless/core/collecting.ts';
import { acceptorAbove, fromProposal } from '../../../src/leaderless/core/slot-value.ts';
import type { ErasableSlot } from '../../../src/leaderless/nodes/requests.ts';

/** What a server decides by itself. */
export interface NodeRules {
  readonly join: typeof joinCells;
  /** Whether a commit is on disk before it is acknowledged. */
  readonly isDurable: boolean;
  readonly isForgettable: typeof isForgettable;
  readonly isForgotten: typeof isForgotten;
  readonly isTooLate: typeof isTooLate;
  readonly acceptorAbove: typeof acceptorAbove;
  readonly isStillErasable: typeof isStillErasable;
  /** Whether a node that has gone on to other members refuses who goes by the old ones. */
  readonly fencesEpochs: boolean;
  /** Whether changes are told although transactions with lower numbers still run. */
  readonly readsPastRunning: boolean;
}

/** A slot is erased only when nobody promised or accepted more since every node agreed on it. */
function isStillErasable(known: AcceptorState, told: ErasableSlot): boolean {
  return (
    fromProposal(known.accepted).value === null &&
    compareBallots(known.acceptedBallot, told.accepted) === 0 &&
    compareBallots(known.promised, told.promised) === 0
  );
}

/** What a real server does; `sql-rules.test.ts` holds it to them. A mutant replaces one. */
export const SERVER_RULES: NodeRules = {
  join: joinCells,
  isDurable: true,
  isForgettable,
  isForgotten,
  isTooLate,
  acceptorAbove,
  isStillErasable,
  fencesEpochs: true,
  readsPastRunning: false,
};
