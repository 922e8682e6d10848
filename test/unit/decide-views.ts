import type { Action } from '../../src/leader-follower/core/action.ts';
import type { ClusterState } from '../../src/leader-follower/core/cluster-state.ts';
import type { LocalPostgres, PeerView, View } from '../../src/leader-follower/core/view.ts';
import type { Lsn } from '../../src/model/lsn.ts';
import { parseNodeId, parseTerm } from '../../src/model/node.ts';
import type { NodeId } from '../../src/model/node.ts';
import { parseTimeline } from '../../src/model/timeline.ts';
import type { TimelineHistory } from '../../src/model/timeline.ts';

export const n1: NodeId = parseNodeId('n1');
export const n2: NodeId = parseNodeId('n2');
export const n3: NodeId = parseNodeId('n3');
export const first: TimelineHistory = { timeline: parseTimeline(1), ancestors: [] };
export const second: TimelineHistory = {
  timeline: parseTimeline(2),
  ancestors: [{ timeline: parseTimeline(1), forkedAt: 100n as Lsn }],
};

export function stateOf(
  changes: Partial<ClusterState['leadership']> = {},
  members: readonly NodeId[] = [n2, n3],
): ClusterState {
  return {
    systemIdentifier: 'cluster',
    leadership: {
      holder: n1,
      term: parseTerm(3),
      nonce: 'x',
      ttlMs: 1_000,
      isReleased: false,
      successor: null,
      timeline: parseTimeline(1),
      ...changes,
    },
    sync: { required: 1, members },
  };
}

export function follower(changes: Partial<Extract<LocalPostgres, { kind: 'follower' }>> = {}): LocalPostgres {
  return {
    kind: 'follower',
    history: first,
    receivedLsn: 100n as Lsn,
    replayedLsn: 100n as Lsn,
    endLsn: 100n as Lsn,
    following: null,
    isReceiving: false,
    stalledForMs: 0,
    tooLowSettings: null,
    ...changes,
  };
}

export function peer(name: PeerView['name'], changes: Partial<PeerView> = {}): PeerView {
  return {
    name,
    isReachable: true,
    hasData: true,
    role: 'follower',
    term: parseTerm(3),
    history: first,
    receivedLsn: 100n as Lsn,
    following: null,
    isReceiving: false,
    promotesFrom: null,
    ...changes,
  };
}

/** n1 has won, and is about to be promoted from `lsn`. */
export function comes(lsn: bigint, changes: Partial<PeerView> = {}): PeerView {
  return peer(n1, { promotesFrom: { history: first, receivedLsn: lsn as Lsn }, ...changes });
}

export const leads: PeerView = peer(n1, { role: 'leader' });

export function view(changes: Partial<View> = {}): View {
  return {
    self: n2,
    founders: [n1, n2, n3],
    from: null,
    register: { version: 9, state: stateOf() },
    ownLease: { kind: 'none' },
    isLeaseExpired: false,
    leaseExpiredForMs: 0,
    leaderLostForMs: 0,
    isLeaderSuspected: false,
    writeFailingForMs: 0,
    suspendedForMs: 0,
    merits: [],
    fencedAtVersion: 5,
    local: follower(),
    localSystemIdentifier: 'cluster',
    peers: [leads, peer(n3)],
    canRewind: true,
    hasRewindFailed: false,
    failedPromotions: 0,
    ...changes,
  };
}

/** A whole action in one line: what is done, and each field of it. */
export function worded(action: Action): string {
  const { kind, ...fields } = action;
  return [kind, ...Object.entries(fields).map(([name, value]) => `${name}=${String(value)}`)].join(' ');
}
