import { parseLsn } from '../model/lsn.ts';
import type { NodeId } from '../model/node.ts';
import { parseTerm } from '../model/node.ts';
import type { Probe } from '../postgres/probe.ts';
import type { LocalPostgres, PeerView, View } from './core/view.ts';
import type { LeadershipRegister } from './leadership.ts';
import type { LocalNode } from './local-node.ts';
import type { Merits } from './merits.ts';
import type { PeerReport, Peers } from './peers.ts';
import { decodeHistory } from './status.ts';

/** One look at everything: the view that is decided on and the probe behind it. */
export interface Observation {
  readonly view: View;
  readonly probe: Probe | null;
}

/** Builds a {@link View} from coordination, the local PostgreSQL and the peers. */
export async function observe(options: {
  readonly self: NodeId;
  readonly nodes: readonly NodeId[];
  readonly register: LeadershipRegister;
  readonly local: LocalNode;
  readonly peers: Peers;
  readonly fencedAtVersion: number;
  readonly hasRewindFailed: boolean;
  readonly merits: Merits;
}): Promise<Observation> {
  const { register, local } = options;
  const [known, probe, localSystemIdentifier] = await Promise.all([
    register.refresh().catch(() => null),
    local.probe(),
    local.systemIdentifier(),
  ]);
  const view: View = {
    self: options.self,
    nodes: options.nodes,
    register: known,
    ownLease: register.ownLease,
    isLeaseExpired: register.leaseExpiredForMs > 0,
    leaseExpiredForMs: register.leaseExpiredForMs,
    fencedAtVersion: options.fencedAtVersion,
    local: await describeLocal(local, probe, localSystemIdentifier),
    localSystemIdentifier,
    peers: options.peers.reports().map(describePeer),
    merits: options.merits.all(register.known.state),
    canRewind: local.canRewind,
    hasRewindFailed: options.hasRewindFailed,
  };
  return { view, probe };
}

async function describeLocal(
  local: LocalNode,
  probe: Probe | null,
  systemIdentifier: string | null,
): Promise<LocalPostgres> {
  if (systemIdentifier === null) return { kind: 'absent' };
  if (!local.server.isRunning) return { kind: 'stopped' };
  if (probe === null) return { kind: 'silent' };
  const history = await local.history(probe);
  if (!probe.isInRecovery) return { kind: 'leader', history, flushLsn: probe.receivedLsn };
  return {
    kind: 'follower',
    history,
    receivedLsn: probe.receivedLsn,
    endLsn: probe.isAtLogEnd && !probe.hasReceiver ? probe.replayedLsn : null,
    following: local.following,
    isReceiving: probe.isReceiving,
    stalledForMs: local.stalledForMs,
  };
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
  };
}
