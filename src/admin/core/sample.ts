import { parseLsn } from '../../model/lsn.ts';
import type { NodeTopology, Topology } from '../../model/topology.ts';

/** One node's lag at one moment; null on the leader and where it is not known. */
export interface NodeLag {
  readonly lagBytes: number | null;
  readonly lagMs: number | null;
}

/** One point of the dashboard's charts. */
export interface LagSample {
  /** Wall-clock milliseconds since the epoch. */
  readonly at: number;
  readonly term: number;
  /** Null while nobody led, which the charts show as a gap. */
  readonly leader: string | null;
  readonly timeline: number | null;
  /** The leader's write position, null while unknown. */
  readonly leaderLsn: string | null;
  readonly nodes: Readonly<Record<string, NodeLag>>;
}

/** A point of the charts from what is known now. */
export function takeSample(topology: Topology | null, at: number): LagSample {
  if (topology === null) {
    return { at, term: 0, leader: null, timeline: null, leaderLsn: null, nodes: {} };
  }
  const leader = topology.nodes.find((node) => node.name === topology.leader);
  return {
    at,
    term: topology.term,
    leader: topology.leader,
    timeline: topology.timeline,
    leaderLsn: leader?.receivedLsn ?? null,
    nodes: Object.fromEntries(topology.nodes.map((node) => [node.name, nodeLag(node)])),
  };
}

/**
 * Bytes of log the leader wrote per second between two samples. Null across a change of timeline (the
 * same number means another history there), without a leader, and when no time passed.
 */
export function walBytesPerSecond(previous: LagSample | undefined, next: LagSample): number | null {
  if (previous === undefined || previous.timeline !== next.timeline || previous.leader !== next.leader)
    return null;
  if (previous.leaderLsn === null || next.leaderLsn === null || next.at <= previous.at) return null;
  const writtenBytes = Number(parseLsn(next.leaderLsn) - parseLsn(previous.leaderLsn));
  return writtenBytes < 0 ? null : (writtenBytes * 1000) / (next.at - previous.at);
}

function nodeLag(node: NodeTopology): NodeLag {
  const isMeasured = node.role === 'follower' && node.state === 'running';
  if (!isMeasured) return { lagBytes: null, lagMs: null };
  // How far a node stays behind on purpose would dwarf all that is not meant.
  return node.kind === 'delayed'
    ? { lagBytes: node.unreceivedBytes ?? null, lagMs: node.besidesMs ?? null }
    : { lagBytes: node.lagBytes, lagMs: node.lagMs };
}
