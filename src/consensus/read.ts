import { compareBallots } from './ballot.ts';
import type { ConsensusReply, VersionedValue } from './acceptor.ts';

export type PeekDecision =
  | { readonly kind: 'settled'; readonly register: VersionedValue }
  /** Too few answers yet, or a write is under way: peek again or run a round. */
  | { readonly kind: 'unsettled' };

/**
 * A linearizable read without a write: when a quorum reports the same accepted ballot, its value is
 * chosen, and nothing newer was chosen before the first of these answers, because a newer ballot's quorum
 * would share an acceptor with this one. Promises without an accepted value do not matter: their round has
 * not been chosen yet.
 */
export function decidePeek(replies: readonly ConsensusReply[], quorum: number): PeekDecision {
  const states = replies.filter((reply) => reply.kind === 'state');
  for (const candidate of states) {
    const agreeing = states.filter(
      (state) => compareBallots(state.acceptedBallot, candidate.acceptedBallot) === 0,
    );
    if (agreeing.length >= quorum) return { kind: 'settled', register: candidate.accepted };
  }
  return { kind: 'unsettled' };
}
