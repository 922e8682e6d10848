import { describe, expect, it } from 'vitest';
import { EMPTY_PLAN } from '../../src/leader-follower/plan/core/plan.ts';
import { buildTopology } from '../../src/leader-follower/report/core/build-topology.ts';
import type { NodeReport } from '../../src/leader-follower/report/core/build-topology.ts';
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
};

describe('who leads', () => {
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
