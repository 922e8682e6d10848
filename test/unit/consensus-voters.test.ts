import { describe, expect, test } from 'vitest';
import { stepRound, startRound } from '../../src/consensus/proposer.ts';
import { doesVote, judgeMessage } from '../../src/consensus/voters.ts';
import type { OwnVote, Voter, VoterSet } from '../../src/consensus/voters.ts';
import { parseNodeId } from '../../src/model/node.ts';

const own: OwnVote = { name: parseNodeId('a'), acceptor: 'file-1', isFounding: true };
const added: OwnVote = { ...own, isFounding: false };

function setOf(epoch: number, ...voters: readonly [string, string | null][]): VoterSet {
  return {
    epoch,
    voters: voters.map(([name, acceptor]): Voter => ({ name: parseNodeId(name), acceptor })),
  };
}

describe('whose acceptor counts', () => {
  test.each([
    ['a founder among the founders', own, null, true],
    ['a node that came later, among the founders', added, null, false],
    ['a founder that is still listed as one', own, setOf(1, ['a', null]), true],
    ['a founder that lost its file', added, setOf(1, ['a', null]), false],
    ['a node by the file that was listed', added, setOf(2, ['a', 'file-1']), true],
    ['a node with another file than was listed', added, setOf(2, ['a', 'file-0']), false],
    ['a founder with another file than was listed', own, setOf(2, ['a', 'file-0']), false],
    ['who is not listed', own, setOf(2, ['b', null]), false],
  ] as const)('%s', (_, vote, set, expected) => {
    expect(doesVote(vote, set)).toBe(expected);
  });
});

describe('a message that goes by a set of voters', () => {
  const first = setOf(1, ['a', null], ['b', null]);
  const second = setOf(2, ['b', null]);
  test.each([
    ['the founders, where no other set is known', null, null, { kind: 'vote', adopts: null }],
    ['the known set', first, first, { kind: 'vote', adopts: null }],
    ['a newer set', null, first, { kind: 'vote', adopts: first }],
    ['a newer set that the acceptor is not in', first, second, { kind: 'no-voter', adopts: second }],
    ['an older set', second, first, { kind: 'outdated', set: second }],
    ['the founders, where a set is known', first, null, { kind: 'outdated', set: first }],
    ['the known set that the acceptor is not in', second, second, { kind: 'no-voter', adopts: null }],
  ] as const)('%s', (_, known, asked, expected) => {
    expect(judgeMessage(own, known, asked)).toEqual(expected);
  });

  test.each([
    ['before it sent its value', [], false],
    ['after it did', ['a', 'b'], true],
  ] as const)('by an older set ends the round, %s', (_, promisedBy, wasProposed) => {
    const promise = {
      kind: 'promise',
      acceptedBallot: { counter: 0, proposer: '' },
      accepted: { version: 0 },
    } as const;
    let { round } = startRound('k', { counter: 1, proposer: 'p' }, 2);
    for (const from of promisedBy) ({ round } = stepRound(round, from, promise, (current) => current));
    ({ round } = stepRound(round, 'c', { kind: 'outdated', set: second }, (current) => current));
    expect(round.phase).toEqual({ kind: 'outdated', set: second, wasProposed });
    // It is over: a late promise begins nothing.
    expect(stepRound(round, 'a', promise, (current) => current)).toEqual({ round, broadcast: null });
  });
});
