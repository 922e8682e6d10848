import type { ClusterEvent } from '../model/topology.ts';

const LIMIT = 200;

/** What happened on this node, for people. Bounded; listeners hear each event once. */
export class EventLog {
  readonly #node: string;
  readonly #events: ClusterEvent[] = [];
  readonly #listeners = new Set<(event: ClusterEvent) => void>();

  constructor(node: string) {
    this.#node = node;
  }

  get recent(): readonly ClusterEvent[] {
    return this.#events;
  }

  add(kind: ClusterEvent['kind'], message: string): void {
    const event: ClusterEvent = { at: Date.now(), node: this.#node, kind, message };
    this.#events.push(event);
    if (this.#events.length > LIMIT) this.#events.shift();
    for (const listener of this.#listeners) listener(event);
  }

  subscribe(listener: (event: ClusterEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}
