import { parseLsn } from '../model/lsn.ts';
import type { NodeId } from '../model/node.ts';
import { parseTerm } from '../model/node.ts';
import { describeLacking, lackingInServer } from '../postgres/follower-minimums.ts';
import type { Probe } from '../postgres/probe.ts';
import { voters } from './config/config.ts';
import type { ClusterConfig } from './config/config.ts';
import type { LocalPostgres, PeerView, View } from './core/view.ts';
import { isLeaderSuspected } from './core/support.ts';
import type { LeadershipHold } from './leadership/leadership-hold.ts';
import type { KnownRegister, RegisterReader } from './leadership/register-reader.ts';
import type { Merits } from './election/merits.ts';
import type { PeerReport } from './peers/peers.ts';
import { decodeHistory } from './report/status.ts';
import type { LocalPort, PeersPort } from './ports.ts';
import type { WriteHealth } from './local/write-health.ts';

const LOOK_TIMEOUT_MS = 1_500;

/** One look at everything: the view that is decided on and the probe behind it. */
export interface Observation {
  readonly view: View;
  readonly probe: Probe | null;
}

/** Builds a {@link View} from coordination, the local PostgreSQL and the peers. */
export async function observe(options: {
  /** The register as this node has just written it; null to ask for it. */
  readonly written: KnownRegister | null;
  readonly self: NodeId;
  readonly config: ClusterConfig;
  readonly register: RegisterReader;
  readonly hold: LeadershipHold;
  readonly local: LocalPort;
  readonly peers: PeersPort;
  readonly fencedAtVersion: number;
  readonly hasRewindFailed: boolean;
  readonly failedPromotions: number;
  readonly merits: Merits;
  readonly leaderLostForMs: number;
  readonly writeHealth: WriteHealth;
}): Promise<Observation> {
  const { register, local } = options;
  const [known, probe, localSystemIdentifier] = await Promise.all([
    options.written ?? register.refresh().catch(() => null),
    local.probe(),
    local.systemIdentifier(),
  ]);
  const reports = options.peers.reports();
  const view: View = {
    self: options.self,
    founders: voters(options.config).map((node) => node.name),
    from: options.config.nodes.find((node) => node.name === options.self)?.from ?? null,
    register: known,
    ownLease: options.hold.ownLease,
    isLeaseExpired: register.leaseExpiredForMs > 0,
    leaseExpiredForMs: register.leaseExpiredForMs,
    leaderLostForMs: options.leaderLostForMs,
    isLeaderSuspected: isSuspected(known, reports, options),
    writeFailingForMs: options.writeHealth.failingForMs,
    suspendedForMs: options.writeHealth.suspendedForMs,
    fencedAtVersion: options.fencedAtVersion,
    local: await describeLocal(local, probe, localSystemIdentifier, isLeaderServing(known, reports)),
    localSystemIdentifier,
    peers: reports.map(describePeer),
    merits: options.merits.all(register.known.state),
    canRewind: local.canRewind,
    hasRewindFailed: options.hasRewindFailed,
    failedPromotions: options.failedPromotions,
  };
  return { view, probe };
}

/**
 * A follower of nobody could not tell where its log ends. That shows only at times, and until it does this node
 * cannot attach, while the leader's first synchronous commit may wait for it: look again soon.
 */
export function isEndHidden({ view: { local } }: Observation): boolean {
  return local.kind === 'follower' && local.following === null && local.endLsn === null;
}

/** The holder says itself that it leads its term. */
function isLeaderServing(known: KnownRegister | null, reports: readonly PeerReport[]): boolean {
  const leadership = known?.state?.leadership;
  return reports.some(
    ({ node, isReachable, status }) =>
      node.name === leadership?.holder &&
      isReachable &&
      status?.role === 'leader' &&
      status.term === leadership.term,
  );
}

/** What the others say counts where it is about the same leader. */
function isSuspected(
  known: KnownRegister | null,
  reports: readonly PeerReport[],
  own: Pick<Parameters<typeof observe>[0], 'self' | 'config' | 'register' | 'leaderLostForMs'>,
): boolean {
  const leadership = known?.state?.leadership;
  if (leadership === undefined) return false;
  const others = reports.filter(
    ({ node, isReachable, status }) =>
      node.voter &&
      node.name !== leadership.holder &&
      isReachable &&
      status?.hasLostLeader === true &&
      status.term === leadership.term,
  );
  const members = voters(own.config);
  return isLeaderSuspected({
    memberCount: members.length,
    isMember: members.some((node) => node.name === own.self),
    hasLostLeader: own.leaderLostForMs > 0,
    othersThatLostLeader: others.length,
    unchangedForMs: own.register.unchangedForMs,
  });
}

async function describeLocal(
  local: LocalPort,
  probe: Probe | null,
  systemIdentifier: string | null,
  isServing: boolean,
): Promise<LocalPostgres> {
  if (systemIdentifier === null) return { kind: 'absent' };
  if (!local.server.isRunning) return { kind: 'stopped' };
  if (probe === null) {
    const { isSuspended, isFrozen } = local.server;
    return { kind: 'silent', isSuspended: isSuspended && !isFrozen };
  }
  const history = await local.history(probe);
  if (!probe.isInRecovery) return { kind: 'leader', history, flushLsn: probe.receivedLsn };
  const { following } = local;
  return {
    kind: 'follower',
    history,
    receivedLsn: probe.receivedLsn,
    replayedLsn: probe.replayedLsn,
    endLsn: probe.isAtLogEnd && !probe.hasReceiver ? probe.replayedLsn : null,
    following,
    isReceiving: probe.isReceiving,
    stalledForMs: local.stalledForMs({
      following,
      isReceiving: probe.isReceiving,
      isLeaderServing: isServing,
    }),
    tooLowSettings: probe.isReplayPaused ? await describeTooLow(local) : null,
  };
}

/** Null where somebody paused replay, or PostgreSQL does not answer. */
async function describeTooLow(local: LocalPort): Promise<string | null> {
  const lacking = await local
    .withClient((client) => lackingInServer(client, local.dataDir), 'postgres', LOOK_TIMEOUT_MS)
    .catch(() => []);
  return lacking.length === 0 ? null : describeLacking(lacking);
}

function describePeer(report: PeerReport): PeerView {
  const { status } = report;
  return {
    name: report.node.name,
    isReachable: report.isReachable,
    hasData: status?.hasData ?? null,
    role: status?.role ?? 'unknown',
    term: parseTerm(status?.term ?? 0),
    history: status?.history ? decodeHistory(status.history) : null,
    receivedLsn: status?.receivedLsn ? parseLsn(status.receivedLsn) : null,
    following: (status?.following ?? null) as NodeId | null,
    isReceiving: status?.isReceiving ?? false,
    promotesFrom: status?.promotesFrom
      ? {
          history: decodeHistory(status.promotesFrom.history),
          receivedLsn: parseLsn(status.promotesFrom.lsn),
        }
      : null,
  };
}
