import { formatLsn } from '../model/lsn.ts';
import type { SessionTokens } from './session/session-tokens.ts';
import type { TopologyMonitor } from './cluster/topology-monitor.ts';
import type { Traffic, TrafficCounts } from './cluster/traffic.ts';

/** One server as this pool sees it. */
export interface ClientNode {
  /** The agents' name for it; `host:port` without agents. */
  readonly name: string;
  readonly host: string;
  readonly port: number;
  readonly role: 'leader' | 'follower' | 'unknown';
  readonly isUp: boolean;
  readonly timeline: number | null;
  /** Flushed on the leader, replayed on a follower. */
  readonly lsn: string | null;
  readonly lagBytes: number | null;
}

/** The cluster as this pool sees it. */
export interface ClientTopology {
  /** The leader's name; null while there is none. */
  readonly leader: string | null;
  /** The agents' term; 0 without agents. */
  readonly term: number;
  readonly timeline: number;
  /** Why this node leads, or none does. */
  readonly reason: string;
  readonly nodes: readonly ClientNode[];
}

/** Counts since the pool was made. */
export interface ClientStats extends Readonly<TrafficCounts> {
  readonly readsByNode: Readonly<Record<string, number>>;
  /** Session tokens left out because they were malformed, forged or too old. */
  readonly tokensRefused: number;
  /** Session tokens set back because they named a position that no server had reached. */
  readonly tokensDisproved: number;
}

/** The cluster as the monitor last saw it. */
export function describeTopology(monitor: TopologyMonitor): ClientTopology {
  const { leadership, view } = monitor;
  return {
    leader: leadership.leader === null ? null : monitor.nameOf(leadership.leader),
    term: leadership.term,
    timeline: leadership.timeline,
    reason: leadership.reason,
    nodes: view.map(({ key, role, isUp, timeline, lsn, lagBytes }) => ({
      name: monitor.nameOf(key),
      host: key.slice(0, key.lastIndexOf(':')),
      port: Number(key.slice(key.lastIndexOf(':') + 1)),
      role,
      isUp,
      timeline,
      lsn: lsn === null ? null : formatLsn(lsn),
      lagBytes,
    })),
  };
}

/** What was counted, with the nodes' names. */
export function describeTraffic(
  traffic: Traffic,
  monitor: TopologyMonitor,
  tokens: Pick<SessionTokens, 'refused' | 'disproved'>,
): ClientStats {
  const reads = [...traffic.reads].map(([key, count]) => [monitor.nameOf(key), count] as const);
  return {
    ...traffic.counts,
    readsByNode: Object.fromEntries(reads),
    tokensRefused: tokens.refused,
    tokensDisproved: tokens.disproved,
  };
}
