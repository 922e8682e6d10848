import type { EventEmitter } from 'node:events';
import type { PoolConfig } from 'pg';
import { Budget } from './route/budget.ts';
import type { NodeKey } from '../model/node.ts';
import { createExchangeObserver } from './observe/exchange-observer.ts';
import type { Log } from './observe/exchange-observer.ts';
import type { ExchangeObserver } from '../wire/contract.ts';
import { authOf, connectionTo } from './cluster/members.ts';
import type { LeaseSource } from './cluster/lease-source.ts';
import { NodePools } from '../wire/node-pools.ts';
import type { Lease } from '../wire/contract.ts';
import { Notifications } from './cluster/notifications.ts';
import type { ResolvedOptions } from './app/options.ts';
import { TopologyMonitor } from './cluster/topology-monitor.ts';

/** Silence of a listening connection is questioned this often. */
const LISTEN_HEARTBEAT_MS = 5000;

/** A connect must not hang for ever on a server that is suspended or cut off. */
const DEFAULT_CONNECT_TIMEOUT_MS = 3000;

/**
 * All servers of a cluster with their connections: at most `max` in use at once over all of them. What it
 * learns of a change of leader, it acts on: no connection to a former leader carries anything more.
 */
export class Servers implements LeaseSource {
  readonly budget: Budget;
  readonly pools: NodePools;
  readonly monitor: TopologyMonitor;
  readonly notifications: Notifications;
  readonly observer: ExchangeObserver | null;
  readonly holdsTransactions: boolean = false;
  readonly #options: ResolvedOptions;
  readonly #max: number;
  readonly #emitter: EventEmitter;
  #leaderSilentSinceMs: number | null = null;

  /** `emitter` is told pg-pool's events: `connect`, `acquire`, `release`, `remove`, `error`. */
  constructor(options: ResolvedOptions, max: number, emitter: EventEmitter) {
    this.#options = options;
    this.#emitter = emitter;
    this.#max = max;
    this.budget = new Budget(max, options.limits.maxWaiting, options.clock);
    const { log = null, database = '' } = options.connection;
    this.observer = createExchangeObserver({ log, meter: options.meter, database }, () => this.monitor);
    const configOf = (node: NodeKey): PoolConfig | null => this.#configOf(node);
    this.pools = new NodePools(configOf, {
      emitter,
      observer: this.observer,
      clock: options.clock,
      roleChanged: (node) => void this.monitor.probeNow(node),
    });
    this.monitor = new TopologyMonitor(options, {
      leaderChanged: (former, leader) => {
        this.#leaderSilentSinceMs = null;
        const names = { former: this.monitor.nameOf(former), leader: this.monitor.nameOf(leader) };
        log?.(`${names.leader} leads now instead of ${names.former}`, { event: 'leader', ...names });
        this.#leave(former, `${leader} leads now instead of ${former}`);
      },
      leaderReplaced: (node) => this.#leave(node, `another server answers at ${node} now`),
      nodeGone: (node) => this.pools.forget(node),
      nodeSilent: (node, isLeader) => this.#onSilence(node, isLeader),
    });
    this.notifications = new Notifications({
      leadership: () => this.monitor.leadership,
      describeNodes: () => this.monitor.describeNodes(),
      firstError: () => this.monitor.firstError,
      configOf,
      failoverTimeoutMs: options.limits.failoverTimeoutMs,
      heartbeatMs: LISTEN_HEARTBEAT_MS,
      clock: options.clock,
    });
  }

  /** What tells a log of flights, besides those of the pool's own. */
  observe(log: Log): ExchangeObserver | null {
    const { database = '' } = this.#options.connection;
    return createExchangeObserver({ log, meter: null, database }, () => this.monitor);
  }

  tryAcquire(node: NodeKey): Lease | null {
    if (!this.budget.tryTake()) return null;
    const lease = this.pools.tryAcquire(node);
    if (lease === null) this.budget.give();
    else this.#emitter.emit('acquire', lease.client);
    return lease;
  }

  async acquire(node: NodeKey): Promise<Lease | null> {
    if (!this.budget.tryTake()) {
      await this.takePlace();
      // Else each of those who wait would try in turn to connect to a server that is known to be silent.
      if (this.#isDown(node)) {
        this.budget.give();
        return null;
      }
    }
    try {
      const lease = await this.pools.acquire(node);
      this.#emitter.emit('acquire', lease.client);
      return lease;
    } catch (error) {
      this.budget.give();
      throw error;
    }
  }

  release(lease: Lease, error: Error | boolean | undefined, leavesState: boolean): void {
    lease.release(error ?? leavesState);
    this.budget.give();
    this.#emitter.emit('release', error, lease.client);
  }

  #isDown(node: NodeKey): boolean {
    return this.monitor.view.find(({ key }) => key === node)?.isUp !== true;
  }

  /**
   * How many of the `max` places are taken, or have a connection that they could use at once. To each server as
   * many connections as that may be open, because statements move between servers all the time.
   */
  get placeCount(): number {
    return Math.max(this.budget.inUse, Math.min(this.pools.totalCount, this.#max));
  }

  get waitLimitMs(): number {
    return this.#options.connection.connectionTimeoutMillis || Number.POSITIVE_INFINITY;
  }

  /** Waits for one of the `max` places as long as the app's `connectionTimeoutMillis` allows. */
  takePlace(): Promise<void> {
    return this.budget.take(this.#options.connection.connectionTimeoutMillis ?? 0);
  }

  async end(): Promise<void> {
    await this.pools.end();
    this.monitor.stop();
  }

  #configOf(node: NodeKey): PoolConfig | null {
    const member = this.monitor.memberOf(node);
    if (member === undefined) return null;
    const { connection } = this.#options;
    const connectionTimeoutMillis = connection.connectionTimeoutMillis || DEFAULT_CONNECT_TIMEOUT_MS;
    const requireAuth = authOf(member, this.#options.requireAuth);
    return Object.assign(
      { ...connection, ...connectionTo(member, connection.ssl), connectionTimeoutMillis },
      { requireAuth },
    );
  }

  #leave(node: NodeKey, reason: string): void {
    this.pools.destroyConnections(node, reason);
    this.notifications.leave(node);
  }

  /** A silent follower's reads go elsewhere at once; a silent leader may yet answer what it was sent. */
  #onSilence(node: NodeKey, isLeader: boolean): void {
    const nowMs = this.#options.clock.nowMs();
    if (isLeader) this.#leaderSilentSinceMs ??= nowMs;
    const silentMs = isLeader ? nowMs - (this.#leaderSilentSinceMs ?? nowMs) : Number.POSITIVE_INFINITY;
    if (silentMs < this.#options.limits.failoverTimeoutMs) return;
    this.#leaderSilentSinceMs = isLeader ? null : this.#leaderSilentSinceMs;
    this.pools.destroyConnections(node, `${node} does not answer`);
  }
}
