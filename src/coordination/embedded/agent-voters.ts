import type { SentMessage } from '../../consensus/acceptor.ts';
import type { Voter, VoterSet } from '../../consensus/voters.ts';

/** A voter among agents, who find each other by address. */
export interface AgentVoter extends Voter {
  /** Where its agent answers. */
  readonly url: string;
}

/** The voters that agents send along, and keep, so that they find each other before any register can be read. */
export interface AgentVoterSet extends VoterSet {
  readonly voters: readonly AgentVoter[];
}

/** A message between agents. */
export type AgentMessage = SentMessage & { readonly set?: AgentVoterSet };

/** Whether what came from elsewhere is such a set; it is kept for good. */
export function isAgentVoterSet(set: unknown): set is AgentVoterSet {
  const { epoch, voters } = (set ?? {}) as Partial<AgentVoterSet>;
  return Number.isSafeInteger(epoch) && Number(epoch) >= 0 && Array.isArray(voters) && voters.every(isVoter);
}

function isVoter(voter: unknown): boolean {
  const { name, url, acceptor } = (voter ?? {}) as Partial<AgentVoter>;
  return (
    typeof name === 'string' && typeof url === 'string' && (acceptor === null || typeof acceptor === 'string')
  );
}
