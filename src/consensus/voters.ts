import type { NodeId } from '../model/node.ts';

/** A node whose acceptor counts. */
export interface Voter {
  readonly name: NodeId;
  /**
   * The identity of its acceptor's file: one that comes with another file does not vote. Null for a voter that founded the
   * cluster, which votes when its file was there then.
   */
  readonly acceptor: string | null;
}

/**
 * Who votes. Epoch 0 are those that founded the cluster; each later set differs from the one before by one voter, so that
 * majorities of the two meet. Source: D. Rystsov, "CASPaxos: Replicated State Machines without logs", 2018, section 2.3;
 * argument: docs/internals/consensus.md.
 */
export interface VoterSet {
  readonly epoch: number;
  readonly voters: readonly Voter[];
}

/** What an acceptor knows of itself. */
export interface OwnVote {
  readonly name: NodeId;
  /** Of its file. */
  readonly acceptor: string;
  /** Whether its file counts for a voter that founded the cluster. */
  readonly isFounding: boolean;
}

/** Whether an acceptor counts in a set; `null` stands for the founders, among which it knows itself to be. */
export function doesVote(own: OwnVote, set: VoterSet | null): boolean {
  if (set === null || set.epoch === 0) return own.isFounding;
  const voter = set.voters.find(({ name }) => name === own.name);
  if (voter === undefined) return false;
  return voter.acceptor === null ? own.isFounding : voter.acceptor === own.acceptor;
}

export type MessageJudgement<Set extends VoterSet = VoterSet> =
  /** `adopts`: the set that must be on disk before anything is answered; null when it is known. */
  | { readonly kind: 'vote'; readonly adopts: Set | null }
  /** The proposer goes by an older set. Answering it could let a majority of that set choose beside a newer one. */
  | { readonly kind: 'outdated'; readonly set: Set }
  | { readonly kind: 'no-voter'; readonly adopts: Set | null };

/**
 * What an acceptor does with a message that goes by the set `asked` (null: by the founders). A set that a proposer uses has
 * been chosen, so that the newest one seen is taken, and no older one is ever answered again.
 */
export function judgeMessage<Set extends VoterSet>(
  own: OwnVote,
  known: Set | null,
  asked: Set | null,
): MessageJudgement<Set> {
  const knownEpoch = known?.epoch ?? 0;
  const askedEpoch = asked?.epoch ?? 0;
  if (known !== null && askedEpoch < knownEpoch) return { kind: 'outdated', set: known };
  const isNew = askedEpoch > knownEpoch;
  return { kind: doesVote(own, isNew ? asked : known) ? 'vote' : 'no-voter', adopts: isNew ? asked : null };
}
