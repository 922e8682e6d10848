import { lagBytes, parseLsn } from '../../../model/lsn.ts';
import type { NodeTopology, Topology, TopologyFork } from '../../../model/topology.ts';
import type { ClusterState } from '../../core/cluster-state.ts';
import type { Plan } from '../../plan/core/plan.ts';
import { waitedForInVain } from './acknowledgement.ts';
import type { Acknowledgement } from './acknowledgement.ts';
import { failoverObstacle, successionObstacle } from './readiness.ts';

/** What is known of one node when a topology is put together. */
export interface NodeReport {
  readonly name: string;
  readonly kind: NodeTopology['kind'];
  readonly delayMs: number;
  /** Whom it is set to stream from; null for nobody. */
  readonly following: string | null;
  readonly voter: boolean;
  readonly isLeaving: boolean;
  readonly host: string;
  readonly port: number;
  readonly agentUrl: string;
  readonly isReachable: boolean;
  readonly role: NodeTopology['role'];
  readonly state: NodeTopology['state'];
  readonly detail: string | null;
  readonly term: number;
  readonly timeline: number | null;
  /** Ancestors of its timeline, oldest first. */
  readonly ancestors: readonly TopologyFork[];
  readonly receivedLsn: string | null;
  readonly replayedLsn: string | null;
  readonly replayAgeMs: number | null;
  readonly postgresVersion: string | null;
  readonly pendingRestart: readonly string[];
  /** Why its vote does not count now, else null. */
  readonly voteObstacle: string | null;
  /** Of who leads; null on others, and where an older release runs. */
  readonly acknowledgement: Acknowledgement | null;
}

/** A client needs those that happened while a session of its own was open. */
const MAX_FORKS = 16;

/** Puts the picture together that `GET /v1/topology` shows. Only who holds the lease and serves is leader. */
export function buildTopology(options: {
  readonly cluster: string;
  readonly clusterId: string;
  readonly version: number;
  readonly state: ClusterState | null;
  readonly plan: Plan;
  readonly isLeaseExpired: boolean;
  /** The agents themselves agree on who leads. */
  readonly areAgentsVoters: boolean;
  readonly nodes: readonly NodeReport[];
}): Topology {
  const { state } = options;
  const holder = state === null || options.isLeaseExpired ? null : state.leadership.holder;
  const leader = options.nodes.find(
    (node) =>
      node.name === holder &&
      node.isReachable &&
      node.role === 'leader' &&
      node.term === state?.leadership.term,
  );
  return {
    cluster: options.cluster,
    clusterId: options.clusterId,
    topology: 'leader-follower',
    version: options.version,
    term: state?.leadership.term ?? 0,
    timeline: leader?.timeline ?? null,
    forks: leader?.ancestors.slice(-MAX_FORKS) ?? [],
    leader: leader?.name ?? null,
    ...(state === null ? {} : { syncPolicy: describePolicy(state, leader?.acknowledgement ?? null) }),
    maintenance: options.plan.maintenance,
    plannedSwitchover: options.plan.schedule && {
      at: options.plan.schedule.at,
      to: options.plan.schedule.to,
    },
    ...describeReadiness(options, leader),
    nodes: options.nodes.map((node) => describeNode(node, leader, state)),
  };
}

function describePolicy(
  { policy, sync }: ClusterState,
  acknowledgement: Acknowledgement | null,
): NonNullable<Topology['syncPolicy']> {
  return {
    followers: policy?.followers ?? sync.required,
    degradeAfterMs: policy?.degradeAfterMs ?? null,
    isDegraded: sync.isDegraded === true,
    confirmedBy: sync.members.length === 0 ? 0 : sync.required,
    ...(acknowledgement === null ? {} : { waitsFor: waitedForInVain(acknowledgement) }),
  };
}

function describeReadiness(
  options: Pick<Parameters<typeof buildTopology>[0], 'state' | 'nodes' | 'areAgentsVoters'>,
  leader: NodeReport | undefined,
): Pick<Topology, 'isFailoverReady' | 'failoverObstacle' | 'isSwitchoverReady'> {
  const { state, nodes, areAgentsVoters } = options;
  if (state === null || leader === undefined) {
    return { isFailoverReady: false, failoverObstacle: 'nobody leads', isSwitchoverReady: false };
  }
  const silent = leader.acknowledgement?.silent ?? [];
  const obstacle = failoverObstacle(state, nodes, areAgentsVoters, silent);
  return {
    isFailoverReady: obstacle === null,
    failoverObstacle: obstacle,
    isSwitchoverReady: successionObstacle(state, nodes, silent) === null,
  };
}

function describeNode(
  node: NodeReport,
  leader: NodeReport | undefined,
  state: ClusterState | null,
): NodeTopology {
  const isLeader = node === leader;
  const isKnown = node.isReachable && node.state === 'running';
  const bytes =
    !isKnown || leader?.receivedLsn == null || node.replayedLsn === null
      ? null
      : isLeader
        ? 0
        : lagBytes(parseLsn(leader.receivedLsn), parseLsn(node.replayedLsn));
  const lagMs = bytes === null ? null : bytes === 0 ? 0 : node.replayAgeMs;
  return {
    name: node.name,
    role: isLeader ? 'leader' : node.isReachable && node.role === 'follower' ? 'follower' : 'unknown',
    state: node.isReachable ? node.state : 'unreachable',
    detail: node.isReachable && node.detail !== null ? node.detail : node.isLeaving ? 'leaving' : null,
    host: node.host,
    port: node.port,
    agentUrl: node.agentUrl,
    timeline: node.timeline,
    receivedLsn: node.receivedLsn,
    replayedLsn: node.replayedLsn,
    postgresVersion: isKnown ? node.postgresVersion : null,
    pendingRestart: isKnown ? node.pendingRestart : [],
    lagBytes: bytes,
    lagMs,
    delayMs: node.delayMs,
    follows: !isLeader && node.isReachable ? node.following : null,
    besidesMs: lagMs === null ? null : Math.max(0, lagMs - node.delayMs),
    unreceivedBytes:
      !isKnown || leader?.receivedLsn == null || node.receivedLsn === null
        ? null
        : lagBytes(parseLsn(leader.receivedLsn), parseLsn(node.receivedLsn)),
    sync:
      !isLeader &&
      node.isReachable &&
      (state?.sync.members as readonly string[] | undefined)?.includes(node.name) === true,
    kind: node.kind,
    voter: node.voter,
  };
}
