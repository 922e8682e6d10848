import { compareBallots } from './ballot.ts';
import type { Ballot } from './ballot.ts';
import type { ConsensusMessage, ConsensusReply, VersionedValue } from './acceptor.ts';
import type { VoterSet } from './voters.ts';

/** What a round does to the current value. Must be pure; runs at most once a round. */
export type Change = (current: VersionedValue) => VersionedValue;

/**
 * One round of one proposer on one key: prepare, take the value of the highest accepted ballot, change it,
 * accept. A round has one ballot and sends one value, ever; a retry is a new round with a higher ballot.
 */
export interface Round {
  readonly key: string;
  readonly ballot: Ballot;
  readonly quorum: RoundQuorum;
  /** What an acceptance is to promise too; null for nothing. */
  readonly next: Ballot | null;
  readonly phase:
    | { readonly kind: 'preparing'; readonly promisedBy: readonly string[]; readonly best: Promised | null }
    | {
        readonly kind: 'accepting';
        readonly acceptedBy: readonly string[];
        readonly proposal: VersionedValue;
      }
    | { readonly kind: 'committed'; readonly register: VersionedValue }
    | { readonly kind: 'preempted'; readonly by: Ballot; readonly wasProposed: boolean }
    /** Other voters were chosen; a new round goes by them. */
    | { readonly kind: 'outdated'; readonly set: VoterSet; readonly wasProposed: boolean };
}

/** How many acceptors are a quorum; or several sets of them, of each of which so many are needed. */
export type RoundQuorum =
  number | readonly { readonly members: readonly string[]; readonly needed: number }[];

/** Whether these acceptors are a quorum. */
export function isQuorum(acceptors: readonly string[], quorum: RoundQuorum): boolean {
  if (typeof quorum === 'number') return acceptors.length >= quorum;
  return quorum.every(
    ({ members, needed }) => members.filter((name) => acceptors.includes(name)).length >= needed,
  );
}

interface Promised {
  readonly ballot: Ballot;
  readonly register: VersionedValue;
}

export interface RoundStep {
  readonly round: Round;
  /** To be sent to every acceptor, when the step asks for it. */
  readonly broadcast: ConsensusMessage | null;
}

/** More than half of the acceptors: any two quorums share one. */
export function majority(acceptors: number): number {
  return Math.floor(acceptors / 2) + 1;
}

export function startRound(
  key: string,
  ballot: Ballot,
  quorum: RoundQuorum,
  next: Ballot | null = null,
): RoundStep {
  return {
    round: { key, ballot, quorum, next, phase: { kind: 'preparing', promisedBy: [], best: null } },
    broadcast: { kind: 'prepare', key, ballot },
  };
}

/**
 * A round whose `ballot` a quorum promised with its acceptance of `current`, in a round of the same proposer that committed
 * and whose `next` it was. May be started once: a ballot carries one value, ever.
 */
export function startPromisedRound(
  current: VersionedValue,
  promised: {
    readonly key: string;
    readonly ballot: Ballot;
    readonly quorum: RoundQuorum;
    readonly next: Ballot | null;
  },
  change: Change,
): RoundStep {
  return propose({ ...promised, phase: { kind: 'preparing', promisedBy: [], best: null } }, change(current));
}

/** Takes one acceptor's reply. Doubled, late and foreign replies change nothing. */
export function stepRound(round: Round, from: string, reply: ConsensusReply, change: Change): RoundStep {
  const { phase } = round;
  if (phase.kind !== 'preparing' && phase.kind !== 'accepting') return { round, broadcast: null };
  if (reply.kind === 'outdated') {
    const wasProposed = phase.kind === 'accepting';
    return { round: { ...round, phase: { kind: 'outdated', set: reply.set, wasProposed } }, broadcast: null };
  }
  if (reply.kind === 'reject') {
    // At the own ballot it is the echo of a doubled prepare.
    if (compareBallots(reply.promised, round.ballot) <= 0) return { round, broadcast: null };
    const wasProposed = phase.kind === 'accepting';
    return {
      round: { ...round, phase: { kind: 'preempted', by: reply.promised, wasProposed } },
      broadcast: null,
    };
  }
  if (phase.kind === 'preparing' && reply.kind === 'promise' && !phase.promisedBy.includes(from)) {
    return stepPreparing(round, phase, from, reply, change);
  }
  if (phase.kind === 'accepting' && reply.kind === 'accepted' && !phase.acceptedBy.includes(from)) {
    const acceptedBy = [...phase.acceptedBy, from];
    const isChosen = isQuorum(acceptedBy, round.quorum);
    return {
      round: {
        ...round,
        phase: isChosen ? { kind: 'committed', register: phase.proposal } : { ...phase, acceptedBy },
      },
      broadcast: null,
    };
  }
  return { round, broadcast: null };
}

function stepPreparing(
  round: Round,
  phase: Extract<Round['phase'], { kind: 'preparing' }>,
  from: string,
  reply: Extract<ConsensusReply, { kind: 'promise' }>,
  change: Change,
): RoundStep {
  const isNewer = phase.best === null || compareBallots(reply.acceptedBallot, phase.best.ballot) > 0;
  const best = isNewer ? { ballot: reply.acceptedBallot, register: reply.accepted } : phase.best;
  const promisedBy = [...phase.promisedBy, from];
  if (!isQuorum(promisedBy, round.quorum) || best === null) {
    return { round: { ...round, phase: { kind: 'preparing', promisedBy, best } }, broadcast: null };
  }
  return propose(round, change(best.register));
}

function propose(round: Round, proposal: VersionedValue): RoundStep {
  const { key, ballot, next } = round;
  return {
    round: { ...round, phase: { kind: 'accepting', acceptedBy: [], proposal } },
    broadcast: { kind: 'accept', key, ballot, proposal, ...(next === null ? {} : { next }) },
  };
}
