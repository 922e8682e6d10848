import { askAgent } from '../../coordination/ask-agent.ts';
import { SealedLink } from '../../coordination/link/link.ts';
import type { AgentSeal } from '../../coordination/agent-seal.ts';
import type { Clock } from '../../model/clock.ts';
import type { NodeId } from '../../model/node.ts';
import { agentUrl } from '../config/config.ts';
import type { NodeConfig } from '../config/config.ts';
import type { Ping } from '../core/support.ts';
import { PEER_SILENT_AFTER_MS } from '../patience.ts';
import type {
  FenceReply,
  FenceRequest,
  NodeStatus,
  PrepareReply,
  TakeoverReply,
  TakeoverRequest,
} from '../report/status.ts';

/** Paths on an agent's HTTP server. */
export const FENCE_PATH = '/v1/fence';
export const PREPARE_PATH = '/v1/prepare';
export const TAKE_OVER_PATH = '/v1/take-over';
export const STATUS_PATH = '/v1/status';

/** The longest that is posted for is a fence's position, with some 45 bytes for each timeline. */
const MAX_REPLY_BYTES = 262_144;

export interface PeerReport {
  readonly node: NodeConfig;
  readonly isReachable: boolean;
  /** The last thing it said, also when it is silent now. */
  readonly status: NodeStatus | null;
  /** Of the link to it, smoothed; null before the first answer. */
  readonly roundTripMs: number | null;
  /** Why who answers at its address is not listened to; null where nobody answers, or all is well. */
  readonly distrust: string | null;
}

type PeerLink = SealedLink<Ping, NodeStatus>;

/** A peer answered the ping that was sent at `sentAtMs`. */
type PongListener = (from: NodeId, supports: boolean, sentAtMs: number) => void;

export interface PeersListener {
  /** A peer's role, term or view of the leader changed. */
  onChange(): void;
  /** This node and who answers at a peer's address do not trust each other. */
  onDistrust(reason: string): void;
}

/** Knows what the other agents say of their nodes, and asks them for things. */
export class Peers {
  #nodes: readonly NodeConfig[] = [];
  readonly #seal: AgentSeal;
  readonly #clock: Clock;
  readonly #listener: PeersListener;
  readonly #closing = new AbortController();
  readonly #heard = new Map<NodeId, { readonly status: NodeStatus; readonly atMs: number }>();
  readonly #links = new Map<NodeId, PeerLink>();
  readonly #pongListeners: PongListener[] = [];

  constructor(nodes: readonly NodeConfig[], seal: AgentSeal, clock: Clock, listener: PeersListener) {
    this.#seal = seal;
    this.#clock = clock;
    this.#listener = listener;
    this.use(nodes);
  }

  /** Takes the nodes that are there now: links to those that came, and no more to those that went or moved. */
  use(nodes: readonly NodeConfig[]): void {
    const before = new Map(this.#nodes.map((node) => [node.name, agentUrl(node)]));
    const now = new Map(nodes.map((node) => [node.name, agentUrl(node)]));
    this.#nodes = nodes;
    for (const [name, url] of before) {
      if (now.get(name) === url) continue;
      this.#links.get(name)?.close();
      this.#links.delete(name);
      this.#heard.delete(name);
    }
    for (const node of nodes) if (!this.#links.has(node.name)) this.#links.set(node.name, this.#open(node));
  }

  reports(): readonly PeerReport[] {
    const nowMs = this.#clock.nowMs();
    return this.#nodes.map((node) => {
      const heard = this.#heard.get(node.name);
      return {
        node,
        isReachable: heard !== undefined && nowMs - heard.atMs < PEER_SILENT_AFTER_MS,
        status: heard?.status ?? null,
        roundTripMs: this.#links.get(node.name)?.roundTripMs ?? null,
        distrust: this.#links.get(node.name)?.distrust ?? null,
      };
    });
  }

  /** Calls `listener` with each answer to a ping. */
  onPong(listener: PongListener): void {
    this.#pongListeners.push(listener);
  }

  /** Sends the leader's ping to every peer that a link stands to. */
  ping(ping: Ping): void {
    for (const link of this.#links.values()) link.send(ping);
  }

  /** Asks a peer to cut itself off from the leader and to tell its position. Null without an answer in time. */
  async fence(to: NodeConfig, request: FenceRequest, timeoutMs: number): Promise<FenceReply | null> {
    return this.#post<FenceReply>(to, FENCE_PATH, request, timeoutMs);
  }

  /** Asks a switchover's successor to get ready. Null without an answer in time. */
  async prepare(to: NodeConfig, timeoutMs: number): Promise<PrepareReply | null> {
    return this.#post<PrepareReply>(to, PREPARE_PATH, {}, timeoutMs);
  }

  /** Lets the successor take over. Null without an answer in time: it may have done so. */
  async takeOver(to: NodeConfig, request: TakeoverRequest, timeoutMs: number): Promise<TakeoverReply | null> {
    return this.#post<TakeoverReply>(to, TAKE_OVER_PATH, request, timeoutMs);
  }

  /** Reads a peer's status now. Null without an answer in time. */
  async ask(node: NodeConfig, timeoutMs: number): Promise<NodeStatus | null> {
    return askAgent<NodeStatus>(this.#seal, {
      to: node.name,
      url: agentUrl(node),
      method: 'GET',
      path: STATUS_PATH,
      signal: AbortSignal.any([AbortSignal.timeout(timeoutMs), this.#closing.signal]),
    }).catch(() => null);
  }

  close(): void {
    this.#closing.abort();
    for (const link of this.#links.values()) link.close();
  }

  #open(node: NodeConfig): PeerLink {
    const isKnown = (): boolean => this.#links.get(node.name) === link;
    const link: PeerLink = new SealedLink(node, this.#seal, this.#clock, {
      onStatus: (status) => {
        if (isKnown()) this.#hear(node.name, status);
      },
      onPong: (supports, sentAtMs) => {
        if (!isKnown()) return;
        for (const listener of this.#pongListeners) listener(node.name, supports, sentAtMs);
      },
      onDistrust: (reason) => this.#listener.onDistrust(reason),
    });
    return link;
  }

  #hear(from: NodeId, status: NodeStatus): void {
    const before = this.#heard.get(from)?.status;
    this.#heard.set(from, { status, atMs: this.#clock.nowMs() });
    const isNews =
      before?.role !== status.role ||
      before.term !== status.term ||
      before.hasLostLeader !== status.hasLostLeader ||
      before.promotesFrom?.lsn !== status.promotesFrom?.lsn;
    if (isNews) this.#listener.onChange();
  }

  #post<T>(to: NodeConfig, path: string, body: unknown, timeoutMs: number): Promise<T | null> {
    return askAgent<T>(this.#seal, {
      to: to.name,
      url: agentUrl(to),
      method: 'POST',
      path,
      body,
      maxBytes: MAX_REPLY_BYTES,
      signal: AbortSignal.timeout(timeoutMs),
    }).catch(() => null);
  }
}
