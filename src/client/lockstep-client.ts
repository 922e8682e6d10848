import { AsyncResource } from 'node:async_hooks';
import type pg from 'pg';
import type { PoolClient, Submittable, TransactionStatus } from 'pg';
import type { StatementConfig } from './statement/queryable.ts';
import { clientClosed, withCallersFrame } from './app/failures.ts';
import { resolveOptions } from './resolve-options.ts';
import type { LockstepOptions } from './app/options.ts';
import { LockstepPool } from './pool.ts';
import { defineQuery, PgClient } from './statement/query-overloads.ts';
import { failSubmitted, isSelfSubmitting, readCall, settleCallback } from './statement/queryable.ts';
import type { SelfSubmitting } from './statement/queryable.ts';
import { sharePool } from './shared-pools.ts';
import type { PoolShare } from './shared-pools.ts';
import { VirtualClient } from './statement/virtual-client.ts';

type ConnectCallback = ((error: Error) => void) | ((error: null, client: pg.Client) => void);

/** What pg's Client keeps, and libraries look at. */
interface ClientInternals {
  _connected: boolean;
  _ending: boolean;
  _ended: boolean;
  _queryable: boolean;
  readonly _types: pg.CustomTypesConfig;
}

/** What was called before the client was connected. */
interface Waiting {
  run(client: PoolClient): void;
  reject(error: Error): void;
}

/**
 * A `pg.Client` for a whole cluster, for libraries that make clients themselves. It behaves as a client of
 * `LockstepPool.connect()`: bound to a server only while it must be, and working on after a failover. Clients
 * with equal options share one pool, which ends with the last of them; `max` does not bound them, since whoever
 * makes the clients does. Made from a pool, it is a client of that one, with its `max` and ambient sessions.
 *
 * `error` tells that an open transaction, a cursor or a setting is lost with its connection; with a setting the
 * client has ended, and `end` follows. What `query` throws is what the pool's `query` does.
 */
export class LockstepClient extends PgClient {
  /** Process id of the server process that is bound right now; null while none is. */
  declare readonly processID: number | null;
  readonly #obtain: () => PoolShare;
  #share: PoolShare | null = null;
  #client: PoolClient | null = null;
  #connecting: Promise<PoolClient> | null = null;
  #end: Promise<void> | null = null;
  #waiting: Waiting[] = [];
  #outstanding = 0;
  #hasOwnTypes = false;

  /** Takes what `connect()` takes, or a pool that the caller ends. Throws CONFIG_INVALID. */
  constructor(config: string | LockstepOptions | LockstepPool) {
    super(config instanceof LockstepPool ? { types: config.options.types } : describe(readOptions(config)));
    if (config instanceof LockstepPool)
      this.#obtain = () => ({ pool: config, release: async () => undefined });
    else {
      const options = readOptions(config);
      this.#obtain = () => sharePool(options);
    }
    this.#followBoundServer();
    const setTypeParser = this.setTypeParser.bind(this) as (...args: unknown[]) => void;
    this.setTypeParser = (...args: unknown[]): void => {
      this.#hasOwnTypes = true;
      setTypeParser(...args);
    };
  }

  /** pg's Client has these as fields. */
  #followBoundServer(): void {
    const { host, port, connection } = this;
    const bound = (): Partial<VirtualClient> => (this.#client ?? {}) as Partial<VirtualClient>;
    Object.defineProperties(this, {
      processID: { get: () => bound().processID ?? null },
      connection: { get: () => bound().connection ?? connection },
      host: { get: () => bound().host ?? host },
      port: { get: () => bound().port ?? port },
    });
  }

  get #internals(): ClientInternals {
    return this as unknown as ClientInternals;
  }

  /** Resolves when some server answers. Throws NO_LEADER (not applied) when none does in time. */
  override connect(): Promise<pg.Client>;
  override connect(callback: ConnectCallback): void;
  override connect(callback?: ConnectCallback): Promise<pg.Client> | undefined {
    const connected = this.#connect();
    if (callback === undefined) return connected;
    settleCallback(connected, callback as (error: Error | undefined, client?: pg.Client) => void);
    return undefined;
  }

  async #connect(): Promise<pg.Client> {
    if (this.#connecting !== null)
      throw new Error('Client has already been connected. You cannot reuse a client.');
    if (this.#end !== null) throw clientClosed();
    this.#share = this.#obtain();
    this.#connecting = this.#share.pool.connect();
    try {
      this.#begin(await this.#connecting);
    } catch (error) {
      await this.#share.release();
      this.#refuseWaiting(error as Error);
      throw error;
    }
    return this;
  }

  #begin(client: PoolClient): void {
    this.#client = client;
    this.#internals._connected = true;
    client.on('notice', (notice) => this.emit('notice', notice));
    client.on('notification', (message) => this.emit('notification', message));
    client.on('error', (error) => {
      if (this.listenerCount('error') > 0) this.emit('error', error);
    });
    client.once('end', () => {
      this.#internals._queryable = false;
      void this.end();
    });
    this.emit('connect');
    for (const { run } of this.#waiting.splice(0)) run(client);
  }

  static {
    defineQuery(this, function query(this: LockstepClient, textOrConfig, valuesOrCallback, maybeCallback) {
      if (isSelfSubmitting(textOrConfig)) {
        const given = [valuesOrCallback, maybeCallback].find((value) => typeof value === 'function');
        return this.#submit(textOrConfig, given as SelfSubmitting['callback']);
      }
      const { statement, callback } = readCall(textOrConfig, valuesOrCallback, maybeCallback);
      const typed = this.#withOwnTypes(statement);
      const answer = this.#whenConnected((client) => client.query(typed));
      this.#countUntil(answer);
      if (callback === undefined) return withCallersFrame(answer);
      settleCallback(answer, callback);
      return undefined;
    });
  }

  /** Parsers that were set on this client hold for its own statements alone, whichever connection they use. */
  #withOwnTypes(statement: StatementConfig): StatementConfig {
    const types = this.#hasOwnTypes ? (statement.types ?? this.#internals._types) : undefined;
    if (types === undefined && !('callback' in statement)) return statement;
    return {
      ...statement,
      callback: undefined,
      ...(types === undefined ? {} : { types }),
    } as StatementConfig;
  }

  #submit(query: SelfSubmitting, given: SelfSubmitting['callback']): SelfSubmitting {
    query.callback ??= given;
    const { _result } = query as { _result?: { _types?: unknown } };
    if (_result !== undefined) _result._types ??= this.#internals._types;
    const submitted = this.#whenConnected(
      async (client) => void client.query(query as unknown as Submittable),
    );
    submitted.catch((error: Error) => failSubmitted(query, undefined, error));
    return query;
  }

  #whenConnected<T>(work: (client: PoolClient) => Promise<T>): Promise<T> {
    if (this.#end !== null) return Promise.reject(clientClosed());
    if (this.#client !== null) return work(this.#client);
    return new Promise((resolve, reject) => {
      // The ambient session is that of the call.
      const run = AsyncResource.bind((client: PoolClient) => void work(client).then(resolve, reject));
      this.#waiting.push({ run, reject });
    });
  }

  #countUntil(answer: Promise<unknown>): void {
    this.#outstanding += 1;
    const settled = (): void => {
      this.#outstanding -= 1;
      if (this.#outstanding === 0) this.emit('drain');
    };
    answer.then(settled, settled);
  }

  #refuseWaiting(error: Error): void {
    for (const { reject } of this.#waiting.splice(0)) reject(error);
  }

  /** As with pg, what is still under way is cut off. The last client of a shared pool waits for its connections. */
  override end(): Promise<void>;
  override end(callback: (error: Error) => void): void;
  override end(callback?: (error: Error) => void): Promise<void> | undefined {
    this.#end ??= this.#close();
    if (callback === undefined) return this.#end;
    settleCallback(this.#end, callback as () => void);
    return undefined;
  }

  async #close(): Promise<void> {
    this.#internals._ending = true;
    this.#refuseWaiting(clientClosed());
    if (this.#connecting === null) return;
    const client = await this.#connecting.catch(() => null);
    // What the app left in a connection of pg's own pool, nobody knows.
    if (client !== null) client.release(this.#outstanding > 0 || !(client instanceof VirtualClient));
    await this.#share?.release();
    this.#internals._ended = true;
    this.emit('end');
  }

  override getTransactionStatus(): TransactionStatus {
    return this.#client?.getTransactionStatus() ?? (null as unknown as TransactionStatus);
  }

  ref(): void {
    (this.#client as { ref?(): void } | null)?.ref?.();
  }

  unref(): void {
    (this.#client as { unref?(): void } | null)?.unref?.();
  }
}

/** Libraries hide the password from loops over the options. */
function readOptions(config: string | LockstepOptions): LockstepOptions {
  if (typeof config === 'string') return { connectionString: config };
  const { password } = config;
  return password === undefined ? { ...config } : { ...config, password };
}

/** What pg's Client would be for the first of the servers. */
function describe(options: LockstepOptions): pg.ClientConfig {
  const { connection, hosts } = resolveOptions(options);
  return { ...connection, host: hosts[0]?.host, port: hosts[0]?.port };
}
