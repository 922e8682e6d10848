import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  decideSuccessor,
  decideTakeover,
  HAND_OVER_LAG_BYTES,
  letGoFirst,
} from '../../src/leader-follower/core/hand-over.ts';
import type { Bystander, SuccessorView } from '../../src/leader-follower/core/hand-over.ts';
import type { Lsn } from '../../src/model/lsn.ts';
import { parseNodeId } from '../../src/model/node.ts';
import { parseTimeline } from '../../src/model/timeline.ts';

const at = (position: number): Lsn => BigInt(position) as Lsn;
const END = 100_000_000;

function follower(name: string, behindBytes: number, changes: Partial<SuccessorView> = {}): SuccessorView {
  return {
    name: parseNodeId(name),
    isStreaming: true,
    isSynchronous: true,
    flushLsn: at(END - behindBytes),
    replayedLsn: at(END - behindBytes),
    ...changes,
  };
}

describe('who takes over in a switchover', () => {
  const n2 = parseNodeId('n2');
  it.each([
    ['the furthest', [follower('n2', 900), follower('n3', 10)], null, { kind: 'ready', to: 'n3' }],
    ['the wanted one', [follower('n2', 900), follower('n3', 10)], n2, { kind: 'ready', to: 'n2' }],
    ['by name when equal', [follower('n3', 0), follower('n2', 0)], null, { kind: 'ready', to: 'n2' }],
    ['nobody without followers', [], null, { kind: 'impossible' }],
    ['not the wanted one when it is away', [follower('n3', 0)], n2, { kind: 'impossible' }],
    ['not one that only connects', [follower('n2', 0, { isStreaming: false })], null, { kind: 'impossible' }],
    ['later one that is not recorded', [follower('n2', 0, { isSynchronous: false })], n2, { kind: 'wait' }],
    ['later one that has to receive', [follower('n2', HAND_OVER_LAG_BYTES + 1)], n2, { kind: 'wait' }],
    ['later one that has to replay', [follower('n2', 0, { replayedLsn: at(1) })], n2, { kind: 'wait' }],
    ['later one whose agent is silent', [follower('n2', 0, { replayedLsn: null })], n2, { kind: 'wait' }],
  ])('%s', (_name, followers, wanted, expected) => {
    expect(decideSuccessor(followers, wanted, at(END))).toMatchObject(expected);
  });
});

describe('who lets go while the leader ends its log', () => {
  const member = (name: string): Bystander => ({ name: parseNodeId(name), isMember: true });
  const [n3, n4, n5] = [member('n3'), member('n4'), member('n5')];
  const guest = { name: parseNodeId('g1'), isMember: false };
  it.each([
    ['the third of three: the successor holds the leader up', [n3], true, 1, ['n3']],
    ['of five all but one, which holds it up with the successor', [n3, n4, n5], true, 2, ['n4', 'n5']],
    ['nobody of three whose successor does not vote', [n3], false, 1, []],
    ['a node that does not vote, always', [guest, n3], false, 1, ['g1']],
    ['nobody where there is nobody', [], true, 0, []],
  ] as const)('%s', (_name, bystanders, isSuccessorMember, needed, expected) => {
    expect(letGoFirst(bystanders, isSuccessorMember, needed)).toEqual(expected);
  });
});

describe('whether the successor has everything', () => {
  const timeline = parseTimeline(3);

  it('takes over exactly when it received past the beginning of the last checkpoint', () => {
    const near = fc
      .bigInt(0n, 1n << 60n)
      .chain((end) => fc.tuple(fc.constant(end), fc.bigInt(end - 3n, end + 3n)));
    fc.assert(
      fc.property(near, ([end, received]) => {
        const decision = decideTakeover(
          { timeline, receivedLsn: received as Lsn },
          { timeline, lsn: end as Lsn },
        );
        expect(decision.kind).toBe(received > end ? 'take' : 'refuse');
      }),
    );
  });

  it('refuses on another timeline, however far it is', () => {
    const own = { timeline: parseTimeline(4), receivedLsn: at(END) };
    expect(decideTakeover(own, { timeline, lsn: at(1) })).toMatchObject({ kind: 'refuse' });
  });
});
