import type { NewsVerifier } from '../news/signature.ts';
import type { ClusterEvent, Topology } from '../model/topology.ts';
import { every } from '../clock/every.ts';
import { systemClock } from '../clock/system-clock.ts';
import { isAgentUrl, NewsStream } from '../news/news-stream.ts';
import { parseAgentMessage } from './core/agent-message.ts';
import { mergeEvents, mergeTopologies, withoutAgents } from './core/merge.ts';
import type { AgentView } from './core/merge.ts';
import type { AdminLogger, ClusterChange, ClusterView } from './source.ts';

const EVENT_LIMIT = 500;
/** Agents tell their view at least once a second; this many silent milliseconds are no hiccup any more. */
const QUIET_MS = 3000;
const SKIPPED = 'an agent sends messages that are not signed, or not understood here; they are skipped';
/** More than this many are not a cluster's. */
const MAX_TOLD_AGENTS = 64;

export interface ClusterSourceOptions {
  /** Base URLs of agents of the cluster; those that these tell of are followed too. */
  readonly agentUrls: readonly string[];
  /** Whether an agent of the cluster said something: its signature tells. */
  readonly verify: NewsVerifier;
  /** Shown, with all nodes unreachable, until an agent was heard; agents of another cluster are not believed. */
  readonly fallback?: Topology;
  readonly logger?: AdminLogger;
}

/** A {@link ClusterView} that follows a cluster's agents until it is closed. */
export interface ClusterSource extends ClusterView {
  close(): void;
}

/**
 * Follows `GET /v1/events` of every agent, reconnecting with bounded backoff, and merges what they tell:
 * see {@link mergeTopologies} and {@link mergeEvents}. Keeps the last 500 events. Never throws for an
 * agent that is away or talks nonsense: its nodes are shown as the others see them.
 */
export function createClusterSource(options: ClusterSourceOptions): ClusterSource {
  const views = new Map<string, AgentView>();
  const foreign = new Set<string>();
  const listeners = new Set<(change: ClusterChange) => void>();
  const fallback = options.fallback === undefined ? null : withoutAgents(options.fallback);
  let events: readonly ClusterEvent[] = [];
  let topology: Topology | null = fallback;
  let told = JSON.stringify(topology);

  function tell(change: ClusterChange): void {
    for (const listener of listeners) listener(change);
  }
  function remerge(): void {
    const merged = mergeTopologies([...views.values()], systemClock.nowMs(), QUIET_MS) ?? fallback;
    const text = JSON.stringify(merged);
    if (text === told || merged === null) return;
    told = text;
    topology = merged;
    followAgents();
    tell({ kind: 'topology', topology: merged });
  }
  function hear(agentUrl: string, change: ClusterChange): void {
    if (change.kind === 'topology') {
      // A dead node's port may have gone to another cluster's agent.
      const isForeign = fallback !== null && change.topology.clusterId !== fallback.clusterId;
      if (isForeign) foreign.add(agentUrl);
      else foreign.delete(agentUrl);
    }
    if (foreign.has(agentUrl)) return lose(agentUrl);
    if (change.kind === 'topology') {
      views.set(agentUrl, {
        topology: change.topology,
        receivedAtMs: systemClock.nowMs(),
        isConnected: true,
      });
      remerge();
      return;
    }
    const merged = mergeEvents(events, [change.event], EVENT_LIMIT);
    events = merged.events;
    for (const event of merged.added) tell({ kind: 'event', event });
  }
  function lose(agentUrl: string): void {
    const view = views.get(agentUrl);
    if (view !== undefined) views.set(agentUrl, { ...view, isConnected: false });
    remerge();
  }

  const streams = new Map<string, NewsStream>();
  let isClosed = false;
  /** Also agents of nodes that came later are followed, and no more those of nodes that went. */
  function followAgents(): void {
    const told = topology?.nodes.slice(0, MAX_TOLD_AGENTS).map((node) => node.agentUrl) ?? [];
    const wanted = new Set(isClosed ? [] : [...options.agentUrls, ...told]);
    for (const [agentUrl, stream] of streams) {
      if (wanted.has(agentUrl)) continue;
      streams.delete(agentUrl);
      views.delete(agentUrl);
      stream.close();
    }
    for (const agentUrl of wanted) {
      if (streams.has(agentUrl) || !isAgentUrl(agentUrl)) continue;
      const isCurrent = (): boolean => streams.get(agentUrl) === stream;
      let hasWarned = false;
      const stream: NewsStream = new NewsStream({
        agentUrl,
        verify: options.verify,
        clock: systemClock,
        onEvent: (event) => {
          const change = parseAgentMessage(event);
          if (change !== null) hasWarned = false;
          if (change !== null && isCurrent()) hear(agentUrl, change);
          return change !== null;
        },
        onSkipped: (event) => {
          if (!hasWarned) options.logger?.warn({ agentUrl, event }, SKIPPED);
          hasWarned = true;
        },
        onLost: () => {
          if (isCurrent()) lose(agentUrl);
        },
      });
      streams.set(agentUrl, stream);
    }
  }
  followAgents();
  // A silent agent sends nothing that would trigger a merge: look again by ourselves.
  const endQuietCheck = every(systemClock, QUIET_MS / 3, remerge);

  return {
    topology: () => topology,
    events: () => events,
    subscribe(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    close() {
      endQuietCheck();
      listeners.clear();
      isClosed = true;
      for (const stream of streams.values()) stream.close();
    },
  };
}
