import type { ClusterEvent } from '../../model/topology.ts';

const LIMIT = 200;
/** What {@link EventLog.addSeldom} told already is not told again for so long. */
const SELDOM_MS = 60_000;

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

  /** For what a stranger can cause as often as they like: each text at most once a minute. */
  addSeldom(kind: ClusterEvent['kind'], message: string): void {
    const since = Date.now() - SELDOM_MS;
    if (!this.#events.some((event) => event.at > since && event.message === message)) this.add(kind, message);
  }

  subscribe(listener: (event: ClusterEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}
