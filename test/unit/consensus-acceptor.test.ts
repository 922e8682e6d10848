import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { EMPTY_ACCEPTOR, stepAcceptor } from '../../src/consensus/acceptor.ts';
import type { AcceptorState, ConsensusMessage } from '../../src/consensus/acceptor.ts';
import { compareBallots, ZERO_BALLOT } from '../../src/consensus/ballot.ts';
import type { Ballot } from '../../src/consensus/ballot.ts';

const ballots: fc.Arbitrary<Ballot> = fc.record({
  counter: fc.integer({ min: 1, max: 5 }),
  proposer: fc.constantFrom('p', 'q', 'r'),
});
const messages: fc.Arbitrary<ConsensusMessage> = fc.oneof(
  fc.record({ kind: fc.constant('prepare' as const), key: fc.constant('k'), ballot: ballots }),
  fc.record({
    kind: fc.constant('accept' as const),
    key: fc.constant('k'),
    ballot: ballots,
    proposal: fc.record({ version: fc.nat(9), value: fc.nat(9) }),
  }),
  fc.record({ kind: fc.constant('peek' as const), key: fc.constant('k') }),
);

describe('ballots', () => {
  test('are totally ordered, by counter first, above the zero ballot', () => {
    fc.assert(
      fc.property(ballots, ballots, ballots, (a, b, c) => {
        expect(Math.sign(compareBallots(a, b))).toBe(0 - Math.sign(compareBallots(b, a)));
        expect(compareBallots(a, b) === 0).toBe(a.counter === b.counter && a.proposer === b.proposer);
        if (compareBallots(a, b) <= 0 && compareBallots(b, c) <= 0)
          expect(compareBallots(a, c)).toBeLessThanOrEqual(0);
        if (a.counter > b.counter) expect(compareBallots(a, b)).toBeGreaterThan(0);
        expect(compareBallots(a, ZERO_BALLOT)).toBeGreaterThan(0);
      }),
    );
  });
});

describe('acceptor', () => {
  test('never lowers its promise, and accepts nothing below it, whatever it is sent', () => {
    fc.assert(
      fc.property(fc.array(messages, { maxLength: 40 }), (sent) => {
        let state: AcceptorState = EMPTY_ACCEPTOR;
        for (const message of sent) {
          const { state: next, reply } = stepAcceptor(state, message);
          expect(compareBallots(next.promised, state.promised)).toBeGreaterThanOrEqual(0);
          expect(compareBallots(next.acceptedBallot, state.acceptedBallot)).toBeGreaterThanOrEqual(0);
          expect(compareBallots(next.acceptedBallot, next.promised)).toBeLessThanOrEqual(0);
          if (reply.kind === 'accepted' && message.kind === 'accept') {
            expect(compareBallots(message.ballot, state.promised)).toBeGreaterThanOrEqual(0);
            expect(next.accepted).toEqual(message.proposal);
          }
          if (reply.kind === 'promise' && message.kind === 'prepare') {
            expect(compareBallots(message.ballot, state.promised)).toBeGreaterThan(0);
            expect(reply.accepted).toEqual(state.accepted);
          }
          // What needs no fsync: the very same state.
          if (reply.kind === 'reject' || reply.kind === 'state') expect(next).toBe(state);
          state = next;
        }
      }),
    );
  });

  test('gives one promise for a ballot', () => {
    const ballot = { counter: 1, proposer: 'p' };
    const { state } = stepAcceptor(EMPTY_ACCEPTOR, { kind: 'prepare', key: 'k', ballot });
    const again = stepAcceptor(state, { kind: 'prepare', key: 'k', ballot });
    expect(again.reply).toEqual({ kind: 'reject', promised: ballot });
  });

  test('refuses an unknown kind instead of making up a state', () => {
    const unknown = { kind: 'erase', key: 'k' } as unknown as ConsensusMessage;
    expect(() => stepAcceptor(EMPTY_ACCEPTOR, unknown)).toThrow(/"erase"/);
  });
});
