import { describe, expect, it } from 'vitest';
import { plainMerit, UNMEASURED } from '../../src/leader-follower/core/candidate.ts';
import type { Merit } from '../../src/leader-follower/core/candidate.ts';
import type { ClusterState } from '../../src/leader-follower/core/cluster-state.ts';
import { handOverIfFailing, handOverIfFull } from '../../src/leader-follower/core/leader-health.ts';
import type { HealthView } from '../../src/leader-follower/core/leader-health.ts';
import type { PeerView } from '../../src/leader-follower/core/view.ts';
import { parseNodeId, parseTerm } from '../../src/model/node.ts';
import type { NodeId } from '../../src/model/node.ts';

const [n1, n2, n3] = ['n1', 'n2', 'n3'].map(parseNodeId) as [NodeId, NodeId, NodeId];

function stateOf(members: readonly NodeId[]): ClusterState {
  return {
    systemIdentifier: 'cluster',
    leadership: {
      holder: n1,
      term: parseTerm(1),
      nonce: 'x',
      ttlMs: 1_000,
      isReleased: false,
      successor: null,
      timeline: null,
    },
    sync: { required: 1, members },
  };
}

function peer(name: NodeId, isReachable = true): PeerView {
  return {
    name,
    isReachable,
    hasData: true,
    role: 'follower',
    term: parseTerm(1),
    history: null,
    receivedLsn: null,
    following: null,
    isReceiving: false,
    promotesFrom: null,
  };
}

function room(node: NodeId, freeBytes: number): Merit {
  return { ...plainMerit(node), measures: { ...UNMEASURED, freeBytes } };
}

/** n1 leads and is well. */
function view(changes: Partial<HealthView> = {}): HealthView {
  return {
    self: n1,
    peers: [peer(n2), peer(n3)],
    writeFailingForMs: 0,
    suspendedForMs: 0,
    merits: [],
    ...changes,
  };
}

const both = stateOf([n2, n3]);
const aLot = 100_000_000;

describe('a leader that does not write', () => {
  it.each([
    ['is given up after three seconds', { writeFailingForMs: 3_000 }, true],
    ['not sooner, for a busy disk looks alike', { writeFailingForMs: 2_900 }, false],
    ['is given up after one when somebody has suspended it', { suspendedForMs: 1_000 }, true],
    ['not after half of one', { suspendedForMs: 500 }, false],
    [
      'leads on where one of those needed does not follow',
      { suspendedForMs: 9_000, peers: [{ ...peer(n2), role: 'unknown' }, peer(n3)] },
      false,
    ],
    [
      'leads on where nobody could take over',
      { suspendedForMs: 9_000, peers: [peer(n2, false), peer(n3)] },
      false,
    ],
  ] as const)('%s', (_, changes, isHandedOver) => {
    const actions = handOverIfFailing(view(changes), both);
    expect(actions).toEqual(
      isHandedOver ? [{ kind: 'hand-over', reason: expect.any(String), inOrder: false }] : null,
    );
  });
});

describe('a leader whose disk is full', () => {
  it.each([
    ['hands over to a follower that has room', [room(n1, 0), room(n2, aLot), room(n3, 0)], true],
    ['does so below a megabyte', [room(n1, 1_048_575), room(n2, aLot), room(n3, aLot)], true],
    ['leads with some room left', [room(n1, 1_048_576), room(n2, aLot), room(n3, aLot)], false],
    ['hands over where there are 64 MB', [room(n1, 0), room(n2, 67_108_864), room(n3, 0)], true],
    ['leads on where the followers have less', [room(n1, 0), room(n2, 67_108_863), room(n3, 0)], false],
    ['or do not tell', [room(n1, 0), plainMerit(n2), plainMerit(n3)], false],
    ['or where it does not know of itself', [plainMerit(n1), room(n2, aLot)], false],
  ] as const)('%s', (_, merits, isHandedOver) => {
    const actions = handOverIfFull(view({ merits }), both);
    expect(actions).toEqual(
      isHandedOver ? [{ kind: 'hand-over', reason: expect.any(String), inOrder: true }] : null,
    );
  });

  it('does not count room of a follower that could not take over', () => {
    const merits = [room(n1, 0), room(n2, aLot), room(n3, 0)];
    expect(handOverIfFull(view({ merits, peers: [peer(n2, false), peer(n3)] }), stateOf([n3]))).toBeNull();
    expect(handOverIfFull(view({ merits }), stateOf([n3]))).toBeNull();
  });
});
