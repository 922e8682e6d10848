import { describe, expect, it } from 'vitest';
import type { ClusterState } from '../../src/leader-follower/core/cluster-state.ts';
import { failoverObstacle, successionObstacle } from '../../src/leader-follower/report/core/readiness.ts';
import type { Voter } from '../../src/leader-follower/report/core/readiness.ts';
import { parseNodeId } from '../../src/model/node.ts';
import { parseTimeline } from '../../src/model/timeline.ts';
import { stateOf as leadBy } from './decide-views.ts';

const [n1, n2, n3] = ['n1', 'n2', 'n3'].map(parseNodeId) as [Id, Id, Id];
type Id = ReturnType<typeof parseNodeId>;

/** n1 leads. */
const stateOf = (members: readonly Id[]): ClusterState => leadBy({ timeline: parseTimeline(2) }, members);

function voter(name: Id, changes: Partial<Voter> = {}): Voter {
  return {
    name,
    isReachable: true,
    role: 'follower',
    timeline: 2,
    voter: true,
    voteObstacle: null,
    ...changes,
  };
}

const leader = voter(n1, { role: 'leader' });
const full = { voteObstacle: 'ENOSPC: no space left on device' };
const gone = { isReachable: false };
const both = stateOf([n2, n3]);
const onlyN2 = stateOf([n2]);

const failovers: readonly [
  string,
  ClusterState,
  readonly Voter[],
  boolean,
  RegExp | null,
  silent?: readonly Id[],
][] = [
  ['succeeds when all is well', both, [leader, voter(n2), voter(n3)], true, null],
  [
    'needs every synchronous follower that may hold a commit alone',
    both,
    [leader, voter(n2), voter(n3, gone)],
    true,
    /^1 of the 2 synchronous followers needed .*missing n3$/,
  ],
  [
    'needs a majority of votes also when the sync set is heard',
    onlyN2,
    [leader, voter(n2), voter(n3, gone)],
    true,
    /^1 of the 2 votes that an election needs: n3 does not answer$/,
  ],
  [
    'does not count a voter whose file cannot be written',
    onlyN2,
    [leader, voter(n2), voter(n3, full)],
    true,
    /the vote of n3 does not count \(ENOSPC/,
  ],
  ['needs no vote of the agents with etcd', onlyN2, [leader, voter(n2), voter(n3, full)], false, null],
  ['does not come to be with two voters', onlyN2, [leader, voter(n2)], true, /one of two is no majority/],
  [
    'does with a witness as the third',
    onlyN2,
    [leader, voter(n2), voter(n3, { role: 'unknown', timeline: null })],
    true,
    null,
  ],
  [
    'asks nothing of a node that does not vote',
    onlyN2,
    [leader, voter(n2), voter(n3), voter(parseNodeId('n4'), { voter: false, ...gone })],
    true,
    null,
  ],
  [
    'waits for a follower to pass the promotion',
    stateOf([n1, n2]),
    [leader, voter(n2), voter(n3)],
    true,
    /^no follower has passed the promotion of n1 yet$/,
  ],
  [
    'waits for the first synchronous follower',
    stateOf([]),
    [leader, voter(n2), voter(n3)],
    true,
    /caught up/,
  ],
  [
    'does not count a follower of another timeline',
    both,
    [leader, voter(n2), voter(n3, { timeline: 1 })],
    true,
    /missing n3$/,
  ],
  [
    'does not come to be while no synchronous follower acknowledges, whatever they say of themselves',
    both,
    [leader, voter(n2), voter(n3)],
    true,
    /^0 of the 2 .* follow now; n1 gets no acknowledgement from n2, n3$/,
    [n2, n3],
  ],
  [
    'tells who hangs from who is away',
    both,
    [leader, voter(n2), voter(n3, gone)],
    true,
    /^0 of the 2 .*; missing n3; n1 gets no acknowledgement from n2$/,
    [n2, n3],
  ],
  ['does not mind who is silent and not needed', onlyN2, [leader, voter(n2), voter(n3)], true, null, [n3]],
];

describe('a failover now', () => {
  it.each(failovers)('%s', (_, state, nodes, areAgentsVoters, expected, silent = []) => {
    const obstacle = failoverObstacle(state, nodes, areAgentsVoters, silent);
    if (expected === null) expect(obstacle).toBeNull();
    else expect(obstacle).toMatch(expected);
  });
});

describe('a switchover now', () => {
  it('has the vote of the leader, and needs the sync set alone', () => {
    expect(successionObstacle(onlyN2, [leader, voter(n2), voter(n3, gone)], [])).toBeNull();
    expect(successionObstacle(both, [leader, voter(n2), voter(n3, gone)], [])).not.toBeNull();
  });
});
