import { LockstepError } from '../model/errors.ts';
import { compareBallots, ZERO_BALLOT } from './ballot.ts';
import type { Ballot } from './ballot.ts';
import type { VoterSet } from './voters.ts';

/** A register's value with the number of its changes; version 0 means never written. */
export interface VersionedValue {
  readonly version: number;
  readonly value?: unknown;
  /** Unique to the operation that wrote this version, so that its author recognises it in a later round. */
  readonly operation?: string;
}

/** One key's durable state at one acceptor. */
export interface AcceptorState {
  readonly promised: Ballot;
  readonly acceptedBallot: Ballot;
  readonly accepted: VersionedValue;
}

export type ConsensusMessage =
  | { readonly kind: 'prepare'; readonly key: string; readonly ballot: Ballot }
  | {
      readonly kind: 'accept';
      readonly key: string;
      readonly ballot: Ballot;
      readonly proposal: VersionedValue;
      /** Promised along with the acceptance: a higher ballot of the same proposer, for its next round. */
      readonly next?: Ballot;
    }
  /** Reads what was promised and accepted, and changes nothing. */
  | { readonly kind: 'peek'; readonly key: string };

/** A message as it travels: `set` is whom its proposer asks; missing, the founders. */
export type SentMessage = ConsensusMessage & { readonly set?: VoterSet };

export type ConsensusReply =
  | { readonly kind: 'promise'; readonly acceptedBallot: Ballot; readonly accepted: VersionedValue }
  | { readonly kind: 'accepted' }
  /** A higher ballot was promised; the proposer must use one above `promised`. */
  | { readonly kind: 'reject'; readonly promised: Ballot }
  /** The proposer must go by `set`, which was chosen since. */
  | { readonly kind: 'outdated'; readonly set: VoterSet }
  | {
      readonly kind: 'state';
      readonly promised: Ballot;
      readonly acceptedBallot: Ballot;
      readonly accepted: VersionedValue;
    };

export const EMPTY_ACCEPTOR: AcceptorState = {
  promised: ZERO_BALLOT,
  acceptedBallot: ZERO_BALLOT,
  accepted: { version: 0 },
};

export interface AcceptorStep {
  /** Differs from the given state only when it must be durable before `reply` leaves. */
  readonly state: AcceptorState;
  readonly reply: ConsensusReply;
}

/**
 * One step of a CASPaxos acceptor. Guarantees: `promised` never falls; a value is accepted only at a
 * ballot no lower than every promise made. Throws CONFIG_INVALID for a kind it does not know, as an agent
 * of a newer release may send: a state made up for it would forget promises.
 * Source: D. Rystsov, "CASPaxos: Replicated State Machines without logs", 2018, section 2.2.
 */
export function stepAcceptor(state: AcceptorState, message: ConsensusMessage): AcceptorStep {
  switch (message.kind) {
    case 'peek':
      return { state, reply: { kind: 'state', ...state } };
    case 'prepare':
      if (compareBallots(message.ballot, state.promised) <= 0) {
        return { state, reply: { kind: 'reject', promised: state.promised } };
      }
      return {
        state: { ...state, promised: message.ballot },
        reply: { kind: 'promise', acceptedBallot: state.acceptedBallot, accepted: state.accepted },
      };
    case 'accept':
      if (compareBallots(message.ballot, state.promised) < 0) {
        return { state, reply: { kind: 'reject', promised: state.promised } };
      }
      return {
        state: {
          promised: message.next ?? message.ballot,
          acceptedBallot: message.ballot,
          accepted: message.proposal,
        },
        reply: { kind: 'accepted' },
      };
    default:
      throw new LockstepError(
        'CONFIG_INVALID',
        `The acceptor does not know the message kind "${(message satisfies never as ConsensusMessage).kind}"; run one release on all nodes.`,
      );
  }
}
