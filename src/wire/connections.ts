import type { PoolClient, PoolConfig } from 'pg';
import type { Clock } from '../model/clock.ts';
import type { NodeKey } from '../model/node.ts';
import type { ExchangeObserver } from './contract.ts';
import { fromHook } from './hook-errors.ts';
import { GuardedClient } from './guarded-client.ts';
import type { ConnectionEvents, Lease } from './contract.ts';

const DEFAULT_IDLE_TIMEOUT_MS = 10_000;
const CLOSE_TIMEOUT_MS = 1000;

/** The part of a server's notice that tells what it is about, in any language. */
export interface NoticeMessage {
  readonly code?: string | undefined;
  readonly routine?: string | undefined;
}

interface ParameterMessage {
  readonly parameterName: string;
  readonly parameterValue: string;
}

/** What pg's Client has beyond its types. */
interface ClientInternals {
  readonly _queryable: boolean;
  readonly _ending: boolean;
  ref(): void;
  unref(): void;
}

/**
 * The connections to one server, the last used first. It opens as many as are asked for: whoever asks holds
 * a place of the budget. It keeps pg-pool's options: `min`, `idleTimeoutMillis`, `maxUses`,
 * `maxLifetimeSeconds`, `allowExitOnIdle`, `onConnect`, `verify`, `connectionTimeoutMillis`.
 */
export class Connections {
  readonly #node: NodeKey;
  readonly #config: PoolConfig;
  readonly #events: ConnectionEvents;
  readonly #open = new Set<Connection>();
  readonly #idle: Connection[] = [];
  #callOffSweep: (() => void) | null = null;
  #closing = 0;
  #ended: (() => void) | null = null;
  #end: Promise<void> | null = null;

  constructor(node: NodeKey, config: PoolConfig, events: ConnectionEvents) {
    this.#node = node;
    this.#config = config;
    this.#events = events;
  }

  get totalCount(): number {
    return this.#open.size;
  }

  get idleCount(): number {
    return this.#idle.length;
  }

  get expiredCount(): number {
    let count = 0;
    for (const connection of this.#open) if (connection.isExpired) count += 1;
    return count;
  }

  tryAcquire(): Lease | null {
    const connection = this.#idle.pop();
    if (connection === undefined) return null;
    if (this.#config.allowExitOnIdle === true) connection.internals.ref();
    connection.hold();
    return connection;
  }

  async acquire(): Promise<Lease> {
    const idle = this.tryAcquire();
    if (idle !== null) return idle;
    const connection = new Connection(this.#node, this.#config, this);
    this.#open.add(connection);
    try {
      await connection.connect();
    } catch (error) {
      this.#open.delete(connection);
      this.#settleEnd();
      throw error;
    }
    await this.#prepare(connection);
    this.#watchLifetime(connection);
    this.#events.emitter.emit('connect', connection.client);
    await this.#verify(connection);
    return connection;
  }

  takeBack(connection: Connection, error: Error | boolean | undefined): void {
    const { _queryable, _ending } = connection.internals;
    const isWorn = connection.uses >= (this.#config.maxUses ?? Number.POSITIVE_INFINITY);
    if (error || this.#end !== null || !_queryable || _ending || isWorn || connection.isExpired)
      return this.#remove(connection);
    connection.isIdle = true;
    connection.idleSinceMs = this.clock.nowMs();
    if (this.#config.allowExitOnIdle === true) connection.internals.unref();
    this.#idle.push(connection);
    this.#sweepLater();
  }

  /** The connection broke while nobody used it. */
  lostIdle(connection: Connection, error: Error): void {
    this.#remove(connection);
    Object.defineProperty(error, 'client', { value: connection.client, configurable: true, writable: true });
    if (this.#events.emitter.listenerCount('error') > 0)
      this.#events.emitter.emit('error', error, connection.client);
  }

  get observer(): ExchangeObserver | null {
    return this.#events.observer;
  }

  get clock(): Clock {
    return this.#events.clock;
  }

  roleChanged(): void {
    this.#events.roleChanged(this.#node);
  }

  destroy(reason: string): void {
    for (const { client } of this.#open) client.connection.stream.destroy(new Error(reason));
  }

  /** Closes idle connections now and the others as they come back. Nothing of it keeps the process alive then. */
  end(): Promise<void> {
    this.#end ??= new Promise((resolve) => {
      this.#ended = resolve;
      this.#callOffSweep?.();
      for (const connection of this.#idle.slice()) this.#remove(connection);
      this.#settleEnd();
    });
    return this.#end;
  }

  #settleEnd(): void {
    if (this.#open.size === 0 && this.#closing === 0) this.#ended?.();
  }

  #remove(connection: Connection): void {
    const index = connection.isIdle ? this.#idle.indexOf(connection) : -1;
    if (index >= 0) this.#idle.splice(index, 1);
    connection.isIdle = false;
    if (!this.#open.has(connection)) return;
    this.#close(connection, () => this.#events.emitter.emit('remove', connection.client));
  }

  #close(connection: Connection, tell: () => void): void {
    this.#open.delete(connection);
    this.#closing += 1;
    connection.close(() => {
      this.#closing -= 1;
      tell();
      this.#settleEnd();
    });
  }

  async #prepare(connection: Connection): Promise<void> {
    try {
      await this.#config.onConnect?.(connection.client);
    } catch (error) {
      const isServersFault = !connection.internals._queryable;
      this.#close(connection, () => undefined);
      throw isServersFault ? error : fromHook(error);
    }
  }

  #verify(connection: Connection): Promise<void> {
    const verify = (this.#config as { verify?: (client: PoolClient, done: (error?: Error) => void) => void })
      .verify;
    if (verify === undefined) return Promise.resolve();
    return new Promise((resolve, reject) => {
      verify(connection.client, (error) => {
        if (!error) return resolve();
        connection.release(error);
        reject(fromHook(error));
      });
    });
  }

  #watchLifetime(connection: Connection): void {
    const seconds = this.#config.maxLifetimeSeconds ?? 0;
    if (seconds <= 0) return;
    const callOff = this.clock.after(seconds * 1000, () => {
      connection.isExpired = true;
      if (connection.isIdle) this.#remove(connection);
    });
    connection.client.once('end', callOff);
  }

  /** One timer for all idle connections: the hot path sets none. */
  #sweepLater(): void {
    const limitMs = this.#config.idleTimeoutMillis ?? DEFAULT_IDLE_TIMEOUT_MS;
    const [oldest] = this.#idle;
    if (this.#callOffSweep !== null || limitMs <= 0 || oldest === undefined) return;
    if (this.#open.size <= (this.#config.min ?? 0)) return;
    const dueMs = Math.max(1, oldest.idleSinceMs + limitMs - this.clock.nowMs());
    const sweep = (): void => {
      this.#callOffSweep = null;
      this.#sweep(this.clock.nowMs() - limitMs);
    };
    this.#callOffSweep = this.clock.after(dueMs, sweep, this.#config.allowExitOnIdle !== true);
  }

  /** The stack keeps the least recently used at its bottom. */
  #sweep(idleBeforeMs: number): void {
    for (;;) {
      const [oldest] = this.#idle;
      if (oldest === undefined || oldest.idleSinceMs > idleBeforeMs) break;
      if (this.#open.size <= (this.#config.min ?? 0)) return;
      this.#remove(oldest);
    }
    this.#sweepLater();
  }
}

/** One connection with what is remembered about it. */
class Connection implements Lease {
  readonly node: NodeKey;
  readonly client: PoolClient;
  readonly clock: Clock;
  readonly observer: ExchangeObserver | null;
  readonly #owner: Connections;
  readonly #connectTimeoutMs: number;
  openedAtMs = 0;
  idleSinceMs = 0;
  uses = 0;
  isIdle = false;
  isExpired = false;
  readOnlySinceMs: number | null = null;
  isSyncWaitCancelled = false;
  preparedCount = 0;
  #isHeld = true;
  #isInRecovery: boolean | null = null;

  constructor(node: NodeKey, config: PoolConfig, owner: Connections) {
    this.node = node;
    this.#owner = owner;
    this.clock = owner.clock;
    this.observer = owner.observer;
    this.#connectTimeoutMs = config.connectionTimeoutMillis ?? 0;
    this.client = new GuardedClient({ ...config, connectionTimeoutMillis: 0 }) as unknown as PoolClient;
    this.client.release = (error): void => this.release(error);
  }

  get internals(): ClientInternals {
    return this.client as unknown as ClientInternals;
  }

  async connect(): Promise<void> {
    const { client } = this;
    client.connection.on('parameterStatus' as never, this.#onParameter as never);
    // Before it connects: a server that stops may say so in one packet with its readiness.
    client.on('error', this.#onError);
    let isTimedOut = false;
    const callOff = this.clock.after(this.#connectTimeoutMs, () => {
      isTimedOut = true;
      client.connection.stream.destroy();
    });
    try {
      // By callback, as pg-pool calls it: what wraps it in pg's prototype may know no other form.
      await new Promise<void>((resolve, reject) => {
        const done = (error?: Error | null): void => (error ? reject(error) : resolve());
        (client.connect as (callback: typeof done) => void).call(client, done);
      });
    } catch (error) {
      if (!isTimedOut) throw error;
      throw new Error('Connection terminated due to connection timeout', { cause: error });
    } finally {
      callOff();
    }
    this.openedAtMs = this.clock.nowMs();
    client.on('notice', this.#onNotice);
  }

  hold(): void {
    this.#isHeld = true;
    this.isIdle = false;
  }

  release(error?: Error | boolean): void {
    if (!this.#isHeld)
      throw new Error('Release called on client which has already been released to the pool.');
    this.#isHeld = false;
    this.uses += 1;
    this.#owner.takeBack(this, error);
  }

  /** A server that hangs does not say goodbye. */
  close(whenClosed: () => void): void {
    const callOff = this.clock.after(CLOSE_TIMEOUT_MS, () => this.client.connection.stream.destroy());
    this.client.end(() => {
      callOff();
      whenClosed();
    });
  }

  /** A connection that breaks while in use fails its statement; the event must not end the process. */
  readonly #onError = (error: Error): void => {
    if (this.isIdle) this.#owner.lostIdle(this, error);
  };

  readonly #onNotice = (notice: NoticeMessage): void => {
    if (isCancelledSyncWait(notice)) this.isSyncWaitCancelled = true;
  };

  /**
   * PostgreSQL 14 and later tell a live connection when the server is promoted, and when it lets new transactions
   * only read.
   */
  readonly #onParameter = ({ parameterName, parameterValue }: ParameterMessage): void => {
    if (parameterName === 'default_transaction_read_only') {
      this.readOnlySinceMs = parameterValue === 'on' ? this.clock.nowMs() : null;
      if (this.openedAtMs > 0) this.#owner.roleChanged();
    }
    if (parameterName !== 'in_hot_standby') return;
    const isInRecovery = parameterValue === 'on';
    const hasChanged = this.#isInRecovery !== null && this.#isInRecovery !== isInRecovery;
    this.#isInRecovery = isInRecovery;
    if (hasChanged) this.#owner.roleChanged();
  };
}

/** Whether the server gave up waiting for a follower. Its messages are translated, its function names are not. */
export function isCancelledSyncWait({ routine, code }: NoticeMessage): boolean {
  return routine === 'SyncRepWaitForLSN' && code === '01000';
}
