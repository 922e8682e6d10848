import type { NodeTopology, Topology } from '../../model/topology.ts';
import { AgentFeed } from './agent-feed.ts';
import type { NodeKey } from '../../model/node.ts';
import type { AgentStatement } from './core/topology.ts';

/** Enough that no single agent's death costs the news, whatever the cluster's size. */
const MAX_AGENT_FEEDS = 3;

/** What some of a cluster's agents tell over their event streams, of which the newest counts. */
export class AgentFeeds {
  readonly #feeds = new Map<string, AgentFeed>();
  readonly #listener: (topology: Topology, isNews: boolean) => void;
  #topology: Topology | null = null;
  #isClosed = false;

  /** `listener` is told with each topology whether another term or leader came with it. */
  constructor(listener: (topology: Topology, isNews: boolean) => void) {
    this.#listener = listener;
  }

  /** The newest that any agent told; null before the first. */
  get topology(): Topology | null {
    return this.#topology;
  }

  /** Whether there are agents to hear from, heard or not. */
  get hasAny(): boolean {
    return this.#feeds.size > 0;
  }

  subscribe(agentUrl: string): void {
    if (this.#feeds.has(agentUrl) || this.#feeds.size >= MAX_AGENT_FEEDS || !URL.canParse(agentUrl)) return;
    this.#feeds.set(agentUrl, new AgentFeed(agentUrl, (topology) => this.#hear(topology)));
  }

  unsubscribe(agentUrl: string): void {
    this.#feeds.get(agentUrl)?.close();
    this.#feeds.delete(agentUrl);
  }

  close(): void {
    this.#isClosed = true;
    for (const feed of this.#feeds.values()) feed.close();
  }

  /** What the agents say of who leads; `keyOf` knows which server they mean. Null when none has told anything. */
  statement(keyOf: (told: NodeTopology) => NodeKey | null): AgentStatement | null {
    const topology = this.#topology;
    if (topology === null) return null;
    const told = topology.nodes.find((node) => node.name === topology.leader);
    return {
      term: topology.term,
      version: topology.version,
      leader: told === undefined ? null : keyOf(told),
      leaderTimeline: topology.timeline,
      isServing: told?.role === 'leader' && told.state === 'running' && topology.timeline !== null,
      isFresh: [...this.#feeds.values()].some((feed) => feed.isLive),
    };
  }

  #hear(topology: Topology): void {
    if (this.#isClosed) return;
    const known = this.#topology;
    // A dead node's port may have gone to another cluster's agent.
    if (known !== null && (topology.clusterId !== known.clusterId || isOlder(topology, known))) return;
    this.#topology = topology;
    this.#listener(
      topology,
      known === null || topology.term !== known.term || topology.leader !== known.leader,
    );
  }
}

function isOlder(topology: Topology, known: Topology): boolean {
  return topology.term < known.term || (topology.term === known.term && topology.version < known.version);
}
