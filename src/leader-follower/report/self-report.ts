import { formatLsn } from '../../model/lsn.ts';
import type { NodeId } from '../../model/node.ts';
import type { NodeRole, Topology } from '../../model/topology.ts';
import { agentUrl, delayMsOf, kindOf } from '../config/config.ts';
import type { ClusterConfig } from '../config/config.ts';
import type { OwnLease } from '../core/view.ts';
import { waitingFor } from '../core/waiting.ts';
import { EMPTY_PLAN } from '../plan/core/plan.ts';
import { buildTopology } from './core/build-topology.ts';
import type { NodeReport } from './core/build-topology.ts';
import type { RegisterReader } from '../leadership/register-reader.ts';
import type { Observation } from '../observer.ts';
import type { PeerReport } from '../peers/peers.ts';
import type { VersionedPlan } from '../plan/plan-register.ts';
import { lackOfRoom } from '../local/core/room-alarm.ts';
import type { ServerFacts } from '../local/server-facts.ts';
import { encodeHistory } from './status.ts';
import type { LocalPort } from '../ports.ts';
import type { NodeStatus } from './status.ts';

/** What an agent's picture is put together from. */
export interface ReportSources {
  readonly config: ClusterConfig;
  readonly self: NodeId;
  readonly register: RegisterReader;
  readonly ownLease: OwnLease;
  readonly plan: VersionedPlan | null;
  readonly facts: ServerFacts | null;
  /** Null on a witness. */
  readonly local: LocalPort | null;
  readonly last: Observation | null;
  readonly hasLostLeader: boolean;
  readonly promotesFrom?: NodeStatus['promotesFrom'];
  readonly measures: NodeStatus['measures'];
  readonly copies?: NodeStatus['copies'];
  readonly acknowledgement?: NodeStatus['acknowledgement'];
}

/** This node's own vote; see OpenCoordination. */
export interface OwnVoteReport {
  readonly acceptor: string | null;
  readonly obstacle: string | null;
}

/** What this agent says of its own node. */
export function describeSelf(sources: ReportSources, vote: OwnVoteReport): NodeStatus {
  const { config, self, register, local, last } = sources;
  const { view, probe } = last ?? { view: null, probe: null };
  const { state, detail } = local?.activity ?? { state: 'running', detail: null };
  const note = local?.delayed?.note ?? null;
  const room = local && lackOfRoom(local.dataDir, sources.measures?.freeBytes ?? null);
  const history =
    view?.local.kind === 'leader' || view?.local.kind === 'follower' ? view.local.history : null;
  return {
    cluster: config.id,
    node: self,
    role: roleOf(sources),
    state,
    detail: detail ?? note ?? room ?? (view && waitingFor(view)),
    hasData: view?.localSystemIdentifier != null,
    term: register.known.state?.leadership.term ?? 0,
    history: history === null ? null : encodeHistory(history),
    receivedLsn: probe === null ? null : formatLsn(probe.receivedLsn),
    replayedLsn: probe === null ? null : formatLsn(probe.replayedLsn),
    replayAgeMs: probe?.replayAgeMs ?? null,
    following: local?.following ?? null,
    isReceiving: probe?.isReceiving ?? false,
    ...(probe === null ? {} : { silentForMs: probe.silentForMs }),
    version: register.known.version,
    hasLostLeader: sources.hasLostLeader,
    planVersion: sources.plan?.version ?? null,
    facts: sources.facts,
    promotesFrom: sources.promotesFrom,
    voteObstacle: vote.obstacle,
    acceptor: vote.acceptor,
    ...(sources.measures === undefined ? {} : { measures: sources.measures }),
    ...(sources.copies === undefined ? {} : { copies: sources.copies }),
    ...(sources.acknowledgement === undefined ? {} : { acknowledgement: sources.acknowledgement }),
  };
}

function roleOf({ last, ownLease }: ReportSources): NodeRole {
  const local = last?.view.local;
  if (local?.kind === 'leader' && ownLease.kind === 'held') return 'leader';
  return local?.kind === 'follower' ? 'follower' : 'unknown';
}

/** The whole cluster as this agent sees it. */
export function describeCluster(
  sources: ReportSources,
  peers: readonly PeerReport[],
  vote: OwnVoteReport,
): Topology {
  const { config, self, register } = sources;
  const own = describeSelf(sources, vote);
  const reports: NodeReport[] = config.nodes.map((node) => {
    const isSelf = node.name === self;
    const peer = peers.find((report) => report.node.name === node.name);
    const status = isSelf ? own : (peer?.status ?? null);
    return {
      name: node.name,
      kind: kindOf(node),
      delayMs: delayMsOf(node),
      following: status?.isReceiving === true ? status.following : null,
      host: node.host,
      port: node.port,
      agentUrl: agentUrl(node),
      isReachable: isSelf || peer?.isReachable === true,
      role: status?.role ?? 'unknown',
      state: status?.state ?? 'unreachable',
      detail: peer?.distrust ?? status?.detail ?? null,
      voter: node.voter,
      isLeaving: node.isLeaving === true,
      term: status?.term ?? 0,
      timeline: status?.history?.timeline ?? null,
      ancestors: status?.history?.ancestors ?? [],
      receivedLsn: status?.receivedLsn ?? null,
      replayedLsn: status?.replayedLsn ?? null,
      replayAgeMs: status?.replayAgeMs ?? null,
      postgresVersion: status?.facts?.version ?? null,
      pendingRestart: status?.facts?.pendingRestart ?? [],
      voteObstacle: status?.voteObstacle ?? null,
      acknowledgement: status?.acknowledgement ?? null,
    };
  });
  const { version, state } = register.known;
  const isOwn = state?.leadership.holder === self;
  return buildTopology({
    cluster: config.name,
    clusterId: config.id,
    version,
    state,
    plan: sources.plan?.plan ?? EMPTY_PLAN,
    isLeaseExpired: isOwn ? sources.ownLease.kind !== 'held' : register.leaseExpiredForMs > 0,
    areAgentsVoters: config.coordination.kind === 'embedded',
    nodes: reports,
  });
}
