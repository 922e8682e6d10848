import type { PoolConfig } from 'pg';
import { Connections } from './connections.ts';
import type { ConnectionCount, ConnectionEvents, Lease } from './contract.ts';
import type { NodeKey } from '../model/node.ts';

/**
 * The connections to every server. Callers hold a place of the budget for each lease, so that no more than
 * `max` are in use over all servers; idle ones stay open, because statements move between leader and
 * followers all the time and a new connection costs more than many statements.
 */
export class NodePools {
  readonly #pools = new Map<NodeKey, Connections>();
  readonly #configOf: (node: NodeKey) => PoolConfig | null;
  readonly #events: ConnectionEvents;
  #isEnding = false;

  /** `configOf` gives what a connection to a node needs; null when the node has left. */
  constructor(configOf: (node: NodeKey) => PoolConfig | null, events: ConnectionEvents) {
    this.#configOf = configOf;
    this.#events = events;
  }

  get totalCount(): number {
    return this.#sum((pool) => pool.totalCount);
  }

  get idleCount(): number {
    return this.#sum((pool) => pool.idleCount);
  }

  /** Of each server that connections were opened to. */
  get counts(): ConnectionCount[] {
    return [...this.#pools].map(([node, { totalCount, idleCount }]) => ({
      node,
      total: totalCount,
      idle: idleCount,
    }));
  }

  get expiredCount(): number {
    return this.#sum((pool) => pool.expiredCount);
  }

  /** An idle connection, at once; null when a new one would have to be opened. */
  tryAcquire(node: NodeKey): Lease | null {
    return this.#pools.get(node)?.tryAcquire() ?? null;
  }

  /** Throws what pg throws when the server cannot be reached: the statement was then never sent. */
  async acquire(node: NodeKey): Promise<Lease> {
    return this.#get(node).acquire();
  }

  /** Ends every connection to a server, also those in use: what they carry fails as broken. */
  destroyConnections(node: NodeKey, reason: string): void {
    this.#pools.get(node)?.destroy(reason);
  }

  /** The server is no longer one of the cluster's: its idle connections close, the others when released. */
  forget(node: NodeKey): void {
    const pool = this.#pools.get(node);
    this.#pools.delete(node);
    void pool?.end();
  }

  async end(): Promise<void> {
    this.#isEnding = true;
    await Promise.all([...this.#pools.values()].map((pool) => pool.end()));
  }

  #get(node: NodeKey): Connections {
    const known = this.#pools.get(node);
    if (known !== undefined) return known;
    const config = this.#configOf(node);
    // As a connection that is refused: the statement goes elsewhere.
    if (config === null)
      throw Object.assign(new Error(`${node} has left the cluster`), { code: 'EHOSTGONE' });
    const pool = new Connections(node, config, this.#events);
    this.#pools.set(node, pool);
    if (this.#isEnding) void pool.end();
    return pool;
  }

  #sum(count: (pool: Connections) => number): number {
    let sum = 0;
    for (const pool of this.#pools.values()) sum += count(pool);
    return sum;
  }
}
