import type { ClusterEvent, NodeTopology, Topology } from '../../model/topology.ts';

/** One agent's latest view of its cluster, with how the view reached us. */
export interface AgentView {
  readonly topology: Topology;
  /** Monotonic milliseconds at which `topology` arrived. */
  readonly receivedAtMs: number;
  /** Whether the agent's stream is open. */
  readonly isConnected: boolean;
}

/**
 * The one topology to show. Of the agents that are connected and were heard within `quietMs`, the view
 * with the highest version wins, then the one that knows most nodes running, then the newest. A silent
 * agent (a suspended process keeps its connections) is believed only when no other speaks. With no agent
 * connected, the last truth is shown with every node unreachable; null when there never was one.
 */
export function mergeTopologies(
  views: readonly AgentView[],
  nowMs: number,
  quietMs: number,
): Topology | null {
  const connected = views.filter((view) => view.isConnected);
  const speaking = connected.filter((view) => nowMs - view.receivedAtMs <= quietMs);
  const freshest = freshestView(speaking.length > 0 ? speaking : connected);
  if (freshest !== null) return freshest.topology;
  const last = freshestView(views);
  return last === null ? null : withoutAgents(last.topology);
}

/** The same cluster as nobody can see it any more: nothing known but names, places and what each is set to be. */
export function withoutAgents(topology: Topology): Topology {
  return {
    ...topology,
    leader: null,
    forks: [],
    isFailoverReady: false,
    failoverObstacle: 'no agent answers',
    isSwitchoverReady: false,
    nodes: topology.nodes.map(unreachableNode),
  };
}

/** Whether an older event list plus new ones changed anything, and the list to keep. */
export interface MergedEvents {
  /** Oldest first. */
  readonly events: readonly ClusterEvent[];
  /** The incoming events that are new and were kept, oldest first. */
  readonly added: readonly ClusterEvent[];
}

/**
 * Joins events of several nodes in order of their clocks (equal times keep the order of arrival), drops
 * repeats (a reconnecting agent tells its history again) and keeps the newest `limit`.
 */
export function mergeEvents(
  known: readonly ClusterEvent[],
  incoming: readonly ClusterEvent[],
  limit: number,
): MergedEvents {
  const seen = new Set(known.map(eventIdentity));
  const fresh: ClusterEvent[] = [];
  for (const event of incoming) {
    const identity = eventIdentity(event);
    if (seen.has(identity)) continue;
    seen.add(identity);
    fresh.push(event);
  }
  if (fresh.length === 0) return { events: known, added: [] };
  const events = [...known, ...fresh].sort((a, b) => a.at - b.at).slice(-limit);
  const kept = new Set(events);
  return { events, added: fresh.filter((event) => kept.has(event)).sort((a, b) => a.at - b.at) };
}

function eventIdentity(event: ClusterEvent): string {
  return JSON.stringify([event.at, event.node, event.kind, event.message]);
}

function freshestView(views: readonly AgentView[]): AgentView | null {
  let best: AgentView | null = null;
  for (const view of views) {
    if (best === null || compareFreshness(view, best) > 0) best = view;
  }
  return best;
}

function compareFreshness(a: AgentView, b: AgentView): number {
  if (a.topology.version !== b.topology.version) return a.topology.version - b.topology.version;
  const running = runningCount(a.topology) - runningCount(b.topology);
  return running !== 0 ? running : a.receivedAtMs - b.receivedAtMs;
}

function runningCount(topology: Topology): number {
  return topology.nodes.filter((node) => node.state === 'running').length;
}

/** Each field by name: what is added to a node later must not be claimed of one that nobody sees. */
function unreachableNode({ name, host, port, agentUrl, kind, delayMs, voter }: NodeTopology): NodeTopology {
  return {
    name,
    host,
    port,
    agentUrl,
    kind,
    ...(delayMs === undefined ? {} : { delayMs }),
    ...(voter === undefined ? {} : { voter }),
    role: 'unknown',
    state: 'unreachable',
    detail: null,
    timeline: null,
    receivedLsn: null,
    replayedLsn: null,
    lagBytes: null,
    lagMs: null,
    besidesMs: null,
    unreceivedBytes: null,
    sync: false,
    follows: null,
    postgresVersion: null,
    pendingRestart: [],
  };
}
