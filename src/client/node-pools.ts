import type { EventEmitter } from 'node:events';
import pg from 'pg';
import type { PoolClient, PoolConfig } from 'pg';
import type { Member } from './core/membership.ts';
import type { NodeKey } from './core/topology.ts';
import { GuardedClient } from './guarded-client.ts';
import { connectionTo } from './members.ts';
import type { ResolvedOptions } from './options.ts';

/** A connection to one server, held until it is released. */
export interface Lease {
  readonly node: NodeKey;
  readonly client: PoolClient;
  /** Monotonic time at which the connection was ready. */
  readonly openedAtMs: number;
  /** Gives the connection back; with an error or true it is closed instead. */
  release(error?: Error | boolean): void;
}

/** A connect must not hang for ever on a server that is suspended or cut off. */
const DEFAULT_CONNECT_TIMEOUT_MS = 3000;

interface NodePool {
  readonly pool: pg.Pool;
  readonly clients: Set<PoolClient>;
}

/**
 * A pool of connections per server, each of at most `max`. Callers hold a place of the budget for each lease,
 * so that no more than `max` are in use over all servers; idle ones stay open, because statements move
 * between leader and followers all the time and a new connection costs more than many statements.
 */
export class NodePools {
  readonly #pools = new Map<NodeKey, NodePool>();
  readonly #openedAtMs = new WeakMap<PoolClient, number>();
  readonly #options: ResolvedOptions;
  readonly #max: number;
  readonly #events: EventEmitter;
  readonly #memberOf: (key: NodeKey) => Member | undefined;

  /** `events` is where the connections' `connect`, `remove` and `error` events are told. */
  constructor(
    options: ResolvedOptions,
    max: number,
    events: EventEmitter,
    memberOf: (key: NodeKey) => Member | undefined,
  ) {
    this.#options = options;
    this.#max = max;
    this.#events = events;
    this.#memberOf = memberOf;
  }

  get totalCount(): number {
    return this.#sum((pool) => pool.totalCount);
  }

  get idleCount(): number {
    return this.#sum((pool) => pool.idleCount);
  }

  get expiredCount(): number {
    return this.#sum((pool) => pool.expiredCount);
  }

  /** What a connection to a node needs; null when the node has left. */
  configOf(node: NodeKey): PoolConfig | null {
    const member = this.#memberOf(node);
    if (member === undefined) return null;
    const { connection } = this.#options;
    const connectionTimeoutMillis = connection.connectionTimeoutMillis || DEFAULT_CONNECT_TIMEOUT_MS;
    return { ...connection, ...connectionTo(member, connection.ssl), connectionTimeoutMillis };
  }

  /** Throws what pg throws when the server cannot be reached: the statement was then never sent. */
  async acquire(node: NodeKey): Promise<Lease> {
    const { pool } = this.#get(node);
    const client = await pool.connect();
    return {
      node,
      client,
      openedAtMs: this.#openedAtMs.get(client) ?? performance.now(),
      release: (error) => client.release(error),
    };
  }

  /** Ends every connection to a server, also those in use: what they carry fails as broken. */
  destroyConnections(node: NodeKey, reason: string): void {
    for (const client of this.#pools.get(node)?.clients ?? [])
      client.connection.stream.destroy(new Error(reason));
  }

  /** Closes what is open to a server that is none of the cluster's any more, when it is given back. */
  forget(node: NodeKey): void {
    const entry = this.#pools.get(node);
    this.#pools.delete(node);
    void entry?.pool.end();
  }

  async end(): Promise<void> {
    await Promise.all([...this.#pools.values()].map(({ pool }) => pool.end()));
  }

  #createPool(config: PoolConfig): NodePool {
    const pool = new pg.Pool(config);
    const clients = new Set<PoolClient>();
    pool.on('connect', (client: PoolClient) => {
      this.#openedAtMs.set(client, performance.now());
      clients.add(client);
      // A connection that breaks while in use fails its statement; the event must not end the process.
      client.on('error', () => undefined);
      this.#events.emit('connect', client);
    });
    pool.on('remove', (client: PoolClient) => {
      clients.delete(client);
      this.#events.emit('remove', client);
    });
    pool.on('error', (error, client) => {
      if (this.#events.listenerCount('error') > 0) this.#events.emit('error', error, client);
    });
    return { pool, clients };
  }

  #get(node: NodeKey): NodePool {
    const known = this.#pools.get(node);
    if (known !== undefined) return known;
    const config = this.configOf(node);
    // As a connection that is refused: the statement goes elsewhere.
    if (config === null)
      throw Object.assign(new Error(`${node} has left the cluster`), { code: 'EHOSTGONE' });
    const entry = this.#createPool({ ...config, Client: GuardedClient, max: this.#max });
    this.#pools.set(node, entry);
    return entry;
  }

  #sum(count: (pool: pg.Pool) => number): number {
    let sum = 0;
    for (const { pool } of this.#pools.values()) sum += count(pool);
    return sum;
  }
}
