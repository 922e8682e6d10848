import { setTimeout as delay } from 'node:timers/promises';
import type { NodeId } from '../model/node.ts';
import { monotonicMs } from '../postgres/monotonic-clock.ts';
import { agentUrl } from './config.ts';
import type { NodeConfig } from './config.ts';
import type { FenceReply, NodeStatus } from './status.ts';

const POLL_INTERVAL_MS = 250;
const POLL_TIMEOUT_MS = 700;
/** A peer that was not heard for this long counts as unreachable. */
const SILENT_AFTER_MS = 1_500;

export interface PeerReport {
  readonly node: NodeConfig;
  readonly isReachable: boolean;
  /** The last thing it said, also when it is silent now. */
  readonly status: NodeStatus | null;
  /** How long its answer takes, smoothed; null before the first. */
  readonly roundTripMs: number | null;
}

/** Knows what the other agents say of their nodes, and asks them for things. */
export class Peers {
  readonly #nodes: readonly NodeConfig[];
  readonly #authorization: string;
  readonly #closing = new AbortController();
  readonly #roundTripsMs = new Map<NodeId, number>();
  readonly #heard = new Map<NodeId, { readonly status: NodeStatus; readonly atMs: number }>();

  constructor(nodes: readonly NodeConfig[], authorization: string, onChange: () => void) {
    this.#nodes = nodes;
    this.#authorization = authorization;
    for (const node of nodes) void this.#poll(node, onChange);
  }

  reports(): readonly PeerReport[] {
    const nowMs = monotonicMs();
    return this.#nodes.map((node) => {
      const heard = this.#heard.get(node.name);
      return {
        node,
        isReachable: heard !== undefined && nowMs - heard.atMs < SILENT_AFTER_MS,
        status: heard?.status ?? null,
        roundTripMs: this.#roundTripsMs.get(node.name) ?? null,
      };
    });
  }

  /** Asks a peer to cut itself off from the leader and to tell its position. Null without an answer in time. */
  async fence(to: NodeConfig, version: number, timeoutMs: number): Promise<FenceReply | null> {
    return this.#post<FenceReply>(to, '/v1/fence', { version }, timeoutMs).catch(() => null);
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
  }

  async #poll(node: NodeConfig, onChange: () => void): Promise<void> {
    while (!this.#closing.signal.aborted) {
      const askedAtMs = monotonicMs();
      const status = await this.ask(node, POLL_TIMEOUT_MS);
      if (status !== null) {
        const tookMs = monotonicMs() - askedAtMs;
        const usualMs = this.#roundTripsMs.get(node.name) ?? tookMs;
        this.#roundTripsMs.set(node.name, usualMs * 0.9 + tookMs * 0.1);
        const before = this.#heard.get(node.name)?.status;
        this.#heard.set(node.name, { status, atMs: monotonicMs() });
        if (before?.role !== status.role || before.term !== status.term) onChange();
      }
      await delay(POLL_INTERVAL_MS, undefined, { signal: this.#closing.signal }).catch(() => undefined);
    }
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
