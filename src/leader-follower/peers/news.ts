import type { ClusterEvent, Topology } from '../../model/topology.ts';
import type { Clock } from '../../model/clock.ts';
import type { NodeStatus } from '../report/status.ts';

/** An unchanged topology is told again this often. */
const PUBLISH_INTERVAL_MS = 1_000;

export type Change = { readonly topology: Topology } | { readonly event: ClusterEvent };

/** Tells those who listen to an agent what is new: people and clients all, other agents what they act on. */
export class News {
  readonly #listeners = new Set<(change: Change) => void>();
  readonly #statusListeners = new Set<() => void>();
  readonly #clock: Clock;
  #lastPublished = '';
  #lastSummary = '';
  #publishedAtMs = Number.NEGATIVE_INFINITY;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  subscribe(listener: (change: Change) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  onStatusChange(listener: () => void): () => void {
    this.#statusListeners.add(listener);
    return () => this.#statusListeners.delete(listener);
  }

  tell(event: ClusterEvent): void {
    this.#emit({ event });
  }

  statusChanged(): void {
    for (const listener of this.#statusListeners) listener();
  }

  publish(topology: Topology, status: NodeStatus): void {
    const summary = `${status.role} ${status.term} ${status.hasLostLeader} ${status.state}`;
    if (summary !== this.#lastSummary) this.statusChanged();
    this.#lastSummary = summary;
    // The version moves with every renewal; that alone is no news. Silence is: it would look like a dead agent.
    const text = JSON.stringify({ ...topology, version: 0 });
    if (text === this.#lastPublished && this.#clock.nowMs() - this.#publishedAtMs < PUBLISH_INTERVAL_MS)
      return;
    this.#lastPublished = text;
    this.#publishedAtMs = this.#clock.nowMs();
    this.#emit({ topology });
  }

  #emit(change: Change): void {
    for (const listener of this.#listeners) listener(change);
  }
}
