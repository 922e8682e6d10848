import type { ConsensusMessage, ConsensusReply } from './acceptor.ts';
import type { Ballot } from './ballot.ts';
import { majority, startRound, stepRound } from './proposer.ts';
import type { Change, Round } from './proposer.ts';
import type { NodeId } from '../model/node.ts';

/** Whom a round asks, about what, and how; all the time the same. */
export interface RoundParticipants {
  readonly key: string;
  readonly voters: readonly NodeId[];
  /** Rejects when there is no answer in time. */
  readonly send: (voter: NodeId, message: ConsensusMessage) => Promise<ConsensusReply>;
}

/** The first half of a round: its ballot is spent with its second half. */
export interface BegunRound {
  readonly ballot: Ballot;
  readonly promises: readonly (readonly [NodeId, ConsensusReply])[];
}

/** The first half of a round, which needs no value: a majority's promises, or null where that did not come to pass. */
export function beginRound(
  { key, voters, send }: RoundParticipants,
  ballot: Ballot,
): Promise<BegunRound | null> {
  return new Promise((resolve) => {
    const promises: [NodeId, ConsensusReply][] = [];
    let pending = voters.length;
    for (const voter of voters) {
      send(voter, { kind: 'prepare', key, ballot })
        .then((reply) => {
          if (reply.kind !== 'promise') return;
          promises.push([voter, reply]);
          if (promises.length === majority(voters.length)) resolve({ ballot, promises });
        })
        .catch(() => undefined)
        .finally(() => {
          if (--pending === 0) resolve(null);
        });
    }
  });
}

/**
 * Runs a round, from its begin or from where {@link beginRound} left it (then with the same voters), until it is over, or
 * every message is answered or given up. What was chosen since a round began stands under a higher ballot, so that its
 * second half finds no majority then.
 */
export function runRound(
  { key, voters, send }: RoundParticipants,
  begin: { readonly ballot: Ballot; readonly promises?: BegunRound['promises'] },
  change: Change,
): Promise<Round> {
  const start = startRound(key, begin.ballot, majority(voters.length));
  return new Promise((resolve) => {
    let round = start.round;
    let pending = 0;
    const hear = (voter: NodeId, reply: ConsensusReply): void => {
      const step = stepRound(round, voter, reply, change);
      round = step.round;
      if (step.broadcast !== null) broadcast(step.broadcast);
    };
    const broadcast = (message: ConsensusMessage): void => {
      for (const voter of voters) {
        pending++;
        send(voter, message)
          .then((reply) => hear(voter, reply))
          .catch(() => undefined)
          .finally(() => {
            pending--;
            const { kind } = round.phase;
            if (pending === 0 || (kind !== 'preparing' && kind !== 'accepting')) resolve(round);
          });
      }
    };
    if (begin.promises !== undefined) for (const [voter, reply] of begin.promises) hear(voter, reply);
    else if (start.broadcast !== null) broadcast(start.broadcast);
  });
}
