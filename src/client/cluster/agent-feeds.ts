import type { Clock } from '../../model/clock.ts';
import type { NodeTopology, Topology } from '../../model/topology.ts';
import type { SignedEvent } from '../../news/event.ts';
import { isAgentUrl, NewsStream } from '../../news/news-stream.ts';
import { createNewsVerifier } from '../../news/signature.ts';
import type { NodeKey } from '../../model/node.ts';
import type { AgentStatement } from './core/leadership.ts';
import { parseTopologyEvent } from './topology-event.ts';

/** Enough that no single agent's death costs the news, whatever the cluster's size. */
const MAX_AGENT_FEEDS = 3;

/** What some of a cluster's agents tell over their event streams, of which the newest counts. */
export class AgentFeeds {
  readonly #feeds = new Map<string, { readonly key: string; readonly feed: NewsStream }>();
  readonly #clock: Clock;
  readonly #listener: (topology: Topology, isNews: boolean) => void;
  #topology: Topology | null = null;
  /** The key that the topology was signed with. */
  #key = '';
  #isClosed = false;

  /** `listener` is told with each topology whether another term or leader came with it. */
  constructor(clock: Clock, listener: (topology: Topology, isNews: boolean) => void) {
    this.#clock = clock;
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

  /** `key`: what the server beside the agent says that it signs with; the server is known by its password. */
  subscribe(agentUrl: string, key: string): void {
    if (this.#feeds.get(agentUrl)?.key === key) return;
    this.unsubscribe(agentUrl);
    const verify = createNewsVerifier(key);
    if (verify === null || this.#feeds.size >= MAX_AGENT_FEEDS || !isAgentUrl(agentUrl)) return;
    const onEvent = (event: SignedEvent): boolean => {
      const topology = parseTopologyEvent(event);
      return topology !== null && this.#hear(topology, key);
    };
    const feed = new NewsStream({ agentUrl, verify, clock: this.#clock, onEvent });
    this.#feeds.set(agentUrl, { key, feed });
  }

  unsubscribe(agentUrl: string): void {
    this.#feeds.get(agentUrl)?.feed.close();
    this.#feeds.delete(agentUrl);
  }

  close(): void {
    this.#isClosed = true;
    for (const { feed } of this.#feeds.values()) feed.close();
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
      isFresh: [...this.#feeds.values()].some(({ feed }) => feed.isLive),
    };
  }

  /** False for another cluster's: a dead node's port may have gone to its agent. */
  #hear(topology: Topology, key: string): boolean {
    if (this.#isClosed) return false;
    const known = this.#topology;
    const isForeign = known !== null && topology.clusterId !== known.clusterId;
    // Where all servers name agents with another key, the cluster itself is another one.
    if (isForeign && [...this.#feeds.values()].some((other) => other.key === this.#key)) return false;
    if (!isForeign && known !== null && isOlder(topology, known)) return true;
    this.#topology = topology;
    this.#key = key;
    this.#listener(
      topology,
      known === null || topology.term !== known.term || topology.leader !== known.leader,
    );
    return true;
  }
}

function isOlder(topology: Topology, known: Topology): boolean {
  return topology.term < known.term || (topology.term === known.term && topology.version < known.version);
}
