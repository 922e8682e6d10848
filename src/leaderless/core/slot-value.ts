import { EMPTY_ACCEPTOR } from '../../consensus/acceptor.ts';
import type { AcceptorState, VersionedValue } from '../../consensus/acceptor.ts';
import { compareBallots, ZERO_BALLOT } from '../../consensus/ballot.ts';
import type { Ballot } from '../../consensus/ballot.ts';
import { lineageAbove } from './lineage.ts';
import type { Lineage } from './lineage.ts';

/** What a slot's consensus register holds as its value. */
export interface SlotValue {
  /** JSON text; null when there is none. */
  readonly value: string | null;
  readonly lineage: Lineage;
}

const NONE: SlotValue = { value: null, lineage: '' };

/** After every proposer's name. */
export const LAST_PROPOSER = '~';

export function toVersionedValue(version: number, value: string | null, lineage: Lineage): VersionedValue {
  return { version, value: { value, lineage } satisfies SlotValue };
}

/** The slot's value in a consensus register; an acceptor that never accepted has none. */
export function fromProposal(register: VersionedValue): SlotValue {
  return (register.value as SlotValue | undefined) ?? NONE;
}

/**
 * The acceptor of a slot that a node does not have. The node may have erased it, and then promised and accepted no more than its
 * floor: so all ballots up to there are taken for promised. As `learnAccepted`, it is what the SQL of nodes/schema.ts does, written
 * for the simulation's node; `sql-rules.test.ts` compares the two.
 */
export function acceptorAbove(floor: number): AcceptorState {
  if (floor === 0) return EMPTY_ACCEPTOR;
  return {
    promised: { counter: floor, proposer: LAST_PROPOSER },
    acceptedBallot: ZERO_BALLOT,
    accepted: toVersionedValue(0, null, lineageAbove(floor)),
  };
}

/**
 * An acceptor that takes over what others accepted. What it promised stays promised: while members change, whoever it promised to has also
 * asked a majority of the old ones.
 */
export function learnAccepted(known: AcceptorState, ballot: Ballot, register: VersionedValue): AcceptorState {
  if (compareBallots(known.acceptedBallot, ballot) >= 0) return known;
  const promised = compareBallots(known.promised, ballot) < 0 ? ballot : known.promised;
  return { promised, acceptedBallot: ballot, accepted: register };
}
