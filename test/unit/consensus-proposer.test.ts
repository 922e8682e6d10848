import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { ConsensusMessage, ConsensusReply, VersionedValue } from '../../src/consensus/acceptor.ts';
import { majority, startRound, stepRound } from '../../src/consensus/proposer.ts';
import type { Round } from '../../src/consensus/proposer.ts';

const BALLOT = { counter: 5, proposer: 'p' };
const increment = (current: VersionedValue): VersionedValue => ({
  version: current.version + 1,
  value: 'new',
});

function promise(counter: number, version: number): ConsensusReply {
  return { kind: 'promise', acceptedBallot: { counter, proposer: 'q' }, accepted: { version } };
}

function feed(
  replies: readonly [string, ConsensusReply][],
  change = increment,
): { round: Round; sent: ConsensusMessage[] } {
  const start = startRound('k', BALLOT, 2);
  let { round } = start;
  const sent = start.broadcast === null ? [] : [start.broadcast];
  for (const [from, reply] of replies) {
    const step = stepRound(round, from, reply, change);
    round = step.round;
    if (step.broadcast !== null) sent.push(step.broadcast);
  }
  return { round, sent };
}

test('any two majorities share an acceptor', () => {
  fc.assert(fc.property(fc.integer({ min: 1, max: 99 }), (n) => 2 * majority(n) > n && majority(n) <= n));
});

describe('round', () => {
  test('changes the value of the highest accepted ballot and commits it with a quorum', () => {
    const { round, sent } = feed([
      ['a', promise(3, 7)],
      ['b', promise(2, 9)],
      ['a', { kind: 'accepted' }],
      ['c', { kind: 'accepted' }],
    ]);
    expect(sent[1]).toMatchObject({ kind: 'accept', ballot: BALLOT, proposal: { version: 8 } });
    expect(round.phase).toEqual({ kind: 'committed', register: { version: 8, value: 'new' } });
  });

  test('counts each acceptor once', () => {
    expect(
      feed([
        ['a', promise(1, 1)],
        ['a', promise(1, 1)],
      ]).round.phase.kind,
    ).toBe('preparing');
    const accepted: [string, ConsensusReply] = ['a', { kind: 'accepted' }];
    expect(feed([['a', promise(1, 1)], ['b', promise(1, 1)], accepted, accepted]).round.phase.kind).toBe(
      'accepting',
    );
  });

  test('ends at a higher promise and tells whether acceptors may hold its value', () => {
    const reject: [string, ConsensusReply] = [
      'c',
      { kind: 'reject', promised: { counter: 6, proposer: 'q' } },
    ];
    expect(feed([reject]).round.phase).toMatchObject({
      kind: 'preempted',
      by: { counter: 6 },
      wasProposed: false,
    });
    expect(feed([['a', promise(1, 1)], ['b', promise(1, 1)], reject]).round.phase).toMatchObject({
      wasProposed: true,
    });
  });

  test('is not ended by the echo of its own doubled prepare', () => {
    const echo: [string, ConsensusReply] = ['a', { kind: 'reject', promised: BALLOT }];
    expect(feed([['a', promise(1, 1)], echo, ['b', promise(1, 1)]]).round.phase.kind).toBe('accepting');
  });

  test('sends one ballot and at most one value, in whatever order and number replies come', () => {
    const replies = fc.oneof(
      fc.tuple(fc.nat(9), fc.nat(9)).map(([counter, version]) => promise(counter, version)),
      fc.constant<ConsensusReply>({ kind: 'accepted' }),
      fc.nat(9).map((counter): ConsensusReply => ({ kind: 'reject', promised: { counter, proposer: 'q' } })),
    );
    const deliveries = fc.array(fc.tuple(fc.constantFrom('a', 'b', 'c'), replies), { maxLength: 20 });
    fc.assert(
      fc.property(deliveries, (delivered) => {
        let changes = 0;
        const { round, sent } = feed(delivered, (current) => (changes++, increment(current)));
        const accepts = sent.filter((message) => message.kind === 'accept');
        expect(changes).toBe(accepts.length);
        expect(accepts.length).toBeLessThanOrEqual(1);
        for (const message of accepts) expect(message.ballot).toEqual(BALLOT);
        if (round.phase.kind === 'committed') expect(round.phase.register).toEqual(accepts[0]?.proposal);
      }),
    );
  });
});
