import { describe, expect, it } from 'vitest';
import { EMPTY_PLAN } from '../../src/leader-follower/plan/core/plan.ts';
import { buildTopology } from '../../src/leader-follower/report/core/build-topology.ts';
import type { NodeReport } from '../../src/leader-follower/report/core/build-topology.ts';
import { parseNodeId } from '../../src/model/node.ts';
import { stateOf } from './decide-views.ts';

/** n1 leads term 3. */
const n1: NodeReport = {
  name: 'n1',
  kind: 'plain',
  delayMs: 0,
  following: null,
  voter: true,
  isLeaving: false,
  host: 'a',
  port: 5432,
  agentUrl: 'http://a:1',
  isReachable: true,
  role: 'leader',
  state: 'running',
  detail: null,
  term: 3,
  timeline: 1,
  ancestors: [],
  receivedLsn: '0/64',
  replayedLsn: '0/64',
  replayAgeMs: 0,
  postgresVersion: '17.0',
  pendingRestart: [],
  voteObstacle: null,
  acknowledgement: null,
};

const usual = {
  cluster: 'c',
  clusterId: 'id',
  version: 1,
  state: stateOf(),
  plan: EMPTY_PLAN,
  isLeaseExpired: false,
  areAgentsVoters: true,
  nodes: [n1],
};

describe('where the leader’s history left older timelines', () => {
  it('is told of the newest sixteen, and while somebody leads', () => {
    const ancestors = Array.from({ length: 17 }, (_, index) => ({
      timeline: index + 1,
      forkedAt: `0/${index + 1}000`,
    }));
    const leads = { ...n1, timeline: 18, ancestors };
    expect(buildTopology({ ...usual, nodes: [leads] }).forks).toEqual(ancestors.slice(1));
    expect(buildTopology({ ...usual, nodes: [leads], isLeaseExpired: true }).forks).toEqual([]);
  });
});

describe('who leads', () => {
  it.each([
    ['the holder that serves', usual, 'n1'],
    ['nobody once its lease ran out', { ...usual, isLeaseExpired: true }, null],
    ['nobody while the holder serves an older term', { ...usual, nodes: [{ ...n1, term: 2 }] }, null],
    ['nobody while the holder does not answer', { ...usual, nodes: [{ ...n1, isReachable: false }] }, null],
    ['nobody until it is promoted', { ...usual, nodes: [{ ...n1, role: 'follower' }] }, null],
    ['nobody who leads without the lease', { ...usual, nodes: [{ ...n1, name: 'n2' }] }, null],
    ['nobody before the founding', { ...usual, state: null }, null],
  ] as const)('%s', (_, seen, leader) => {
    const topology = buildTopology(seen);
    expect(topology.leader).toBe(leader);
    expect(topology.nodes.map(({ role }) => role === 'leader')).toEqual([leader !== null]);
    expect(topology.timeline).toBe(leader === null ? null : 1);
  });
});

describe('whom commits wait for', () => {
  const n2: NodeReport = { ...n1, name: 'n2', role: 'follower', following: 'n1', replayAgeMs: 4_000 };
  const state = stateOf({}, [parseNodeId('n2')]);
  const seen = (silent: readonly string[], follower = n2): ReturnType<typeof buildTopology> => {
    const acknowledgement = { required: 1, members: ['n2'], silent };
    const nodes = [{ ...n1, acknowledgement }, follower];
    return buildTopology({ ...usual, state, areAgentsVoters: false, nodes });
  };

  it('is what the leader tells, and so is who could take over', () => {
    expect(seen([])).toMatchObject({ isFailoverReady: true, syncPolicy: { waitsFor: [] } });
    expect(seen(['n2'])).toMatchObject({
      isFailoverReady: false,
      isSwitchoverReady: false,
      syncPolicy: { waitsFor: ['n2'] },
    });
  });

  it('is not known of an older leader, which is believed as before', () => {
    const older = buildTopology({ ...usual, state, areAgentsVoters: false, nodes: [n1, n2] });
    expect(older.isFailoverReady).toBe(true);
    expect(older.syncPolicy).not.toHaveProperty('waitsFor');
  });

  it('does not make a follower late that has all that the leader has', () => {
    expect(seen([]).nodes[1]?.lagMs).toBe(0);
    expect(seen([], { ...n2, replayedLsn: '0/63' }).nodes[1]?.lagMs).toBe(4_000);
  });
});
