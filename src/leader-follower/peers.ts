import type { NodeId } from '../model/node.ts';
import { monotonicMs } from '../postgres/monotonic-clock.ts';
import { agentUrl } from './config.ts';
import type { NodeConfig } from './config.ts';
import type { Ping } from './core/support.ts';
import { PeerLink } from './link.ts';
import type {
  FenceReply,
  FenceRequest,
  NodeStatus,
  PrepareReply,
  TakeoverReply,
  TakeoverRequest,
} from './status.ts';

/** A peer that was not heard for this long counts as unreachable. */
const SILENT_AFTER_MS = 1_000;

export interface PeerReport {
  readonly node: NodeConfig;
  readonly isReachable: boolean;
  /** The last thing it said, also when it is silent now. */
  readonly status: NodeStatus | null;
  /** Of the link to it, smoothed; null before the first answer. */
  readonly roundTripMs: number | null;
}

export interface PeersListener {
  /** A peer's role, term or view of the leader changed. */
  onChange(): void;
  /** A peer answered the ping that was sent at `sentAtMs`. */
  onPong(from: NodeId, supports: boolean, sentAtMs: number): void;
}

/** Knows what the other agents say of their nodes, and asks them for things. */
export class Peers {
  readonly #nodes: readonly NodeConfig[];
  readonly #authorization: string;
  readonly #closing = new AbortController();
  readonly #heard = new Map<NodeId, { readonly status: NodeStatus; readonly atMs: number }>();
  readonly #links = new Map<NodeId, PeerLink>();

  constructor(nodes: readonly NodeConfig[], authorization: string, listener: PeersListener) {
    this.#nodes = nodes;
    this.#authorization = authorization;
    for (const node of nodes) {
      const link = new PeerLink(node, authorization, {
        onStatus: (status) => this.#hear(node.name, status, listener),
        onPong: (supports, sentAtMs) => listener.onPong(node.name, supports, sentAtMs),
      });
      this.#links.set(node.name, link);
    }
  }

  reports(): readonly PeerReport[] {
    const nowMs = monotonicMs();
    return this.#nodes.map((node) => {
      const heard = this.#heard.get(node.name);
      return {
        node,
        isReachable: heard !== undefined && nowMs - heard.atMs < SILENT_AFTER_MS,
        status: heard?.status ?? null,
        roundTripMs: this.#links.get(node.name)?.roundTripMs ?? null,
      };
    });
  }

  /** Sends the leader's ping to every peer that a link stands to. */
  ping(ping: Ping): void {
    for (const link of this.#links.values()) link.send(ping);
  }

  /** Asks a peer to cut itself off from the leader and to tell its position. Null without an answer in time. */
  async fence(to: NodeConfig, request: FenceRequest, timeoutMs: number): Promise<FenceReply | null> {
    return this.#post<FenceReply>(to, '/v1/fence', request, timeoutMs).catch(() => null);
  }

  /** Asks a switchover's successor to get ready. Null without an answer in time. */
  async prepare(to: NodeConfig, timeoutMs: number): Promise<PrepareReply | null> {
    return this.#post<PrepareReply>(to, '/v1/prepare', {}, timeoutMs).catch(() => null);
  }

  /** Lets the successor take over. Null without an answer in time: it may have done so. */
  async takeOver(to: NodeConfig, request: TakeoverRequest, timeoutMs: number): Promise<TakeoverReply | null> {
    return this.#post<TakeoverReply>(to, '/v1/take-over', request, timeoutMs).catch(() => null);
  }

  /** Reads a peer's status now. Null without an answer in time. */
  async ask(node: NodeConfig, timeoutMs: number): Promise<NodeStatus | null> {
    try {
      const response = await fetch(`${agentUrl(node)}/v1/status`, {
        headers: { authorization: this.#authorization },
        signal: AbortSignal.any([AbortSignal.timeout(timeoutMs), this.#closing.signal]),
      });
      return response.ok ? ((await response.json()) as NodeStatus) : null;
    } catch {
      return null;
    }
  }

  close(): void {
    this.#closing.abort();
    for (const link of this.#links.values()) link.close();
  }

  #hear(from: NodeId, status: NodeStatus, listener: PeersListener): void {
    const before = this.#heard.get(from)?.status;
    this.#heard.set(from, { status, atMs: monotonicMs() });
    const isNews =
      before?.role !== status.role ||
      before.term !== status.term ||
      before.hasLostLeader !== status.hasLostLeader;
    if (isNews) listener.onChange();
  }

  async #post<T>(to: NodeConfig, path: string, body: unknown, timeoutMs: number): Promise<T> {
    const response = await fetch(`${agentUrl(to)}${path}`, {
      method: 'POST',
      headers: { authorization: this.#authorization, 'content-type': 'application/json' },
      body: JSON.stringify(body),
      signal: AbortSignal.timeout(timeoutMs),
    });
    if (!response.ok) throw new Error(`${path} of ${to.name} answered ${response.status}`);
    return (await response.json()) as T;
  }
}
