import pg from 'pg';
import type { PoolClient, QueryResult, Submittable } from 'pg';
import type { Durability } from '../model/durability.ts';
import { formatLsn } from '../model/lsn.ts';
import { Budget } from './budget.ts';
import type { NodeKey } from './core/topology.ts';
import type { LeaseSource } from './node-finder.ts';
import { createClassifier } from './leader-catalog.ts';
import { NodePools } from './node-pools.ts';
import { Notifications } from './notifications.ts';
import type { ListenOptions, Notification, Subscription } from './notifications.ts';
import type { Lease } from './node-pools.ts';
import { resolveOptions } from './options.ts';
import type { LockstepOptions, ResolvedOptions } from './options.ts';
import { isSelfSubmitting, readStatement, settleCallback } from './queryable.ts';
import type { Queryable } from './queryable.ts';
import { StatementRunner } from './runner.ts';
import { createQuery } from './session.ts';
import type { Session } from './session.ts';
import { Sessions } from './sessions.ts';
import type { SessionOptions } from './sessions.ts';
import { SessionTokens } from './session-tokens.ts';
import { TopologyMonitor } from './topology.ts';
import type { SessionState } from './session-state.ts';
import { Traffic } from './traffic.ts';
import type { TrafficCounts } from './traffic.ts';
import { runTransaction } from './transaction.ts';
import type { Transaction, TransactionOptions } from './transaction.ts';
import { VirtualClient } from './virtual-client.ts';

/** One server as this pool sees it. */
export interface ClientNode {
  /** The agents' name for it; `host:port` without agents. */
  readonly name: string;
  readonly host: string;
  readonly port: number;
  readonly role: 'leader' | 'follower' | 'unknown';
  readonly isUp: boolean;
  readonly timeline: number | null;
  /** Flushed on the leader, replayed on a follower. */
  readonly lsn: string | null;
  readonly lagBytes: number | null;
}

/** The cluster as this pool sees it. */
export interface ClientTopology {
  /** The leader's name; null while there is none. */
  readonly leader: string | null;
  /** The agents' term; 0 without agents. */
  readonly term: number;
  readonly timeline: number;
  /** Why this node leads, or none does. */
  readonly reason: string;
  readonly nodes: readonly ClientNode[];
}

/** Counts since the pool was made. */
export interface ClientStats extends Readonly<TrafficCounts> {
  readonly readsByNode: Readonly<Record<string, number>>;
  /** Session tokens left out because they were malformed, forged or too old. */
  readonly tokensRefused: number;
}

/** A dead connection to the leader is found out within twice this. */
const LISTEN_HEARTBEAT_MS = 5000;

type ConnectCallback = (
  error: Error | undefined,
  client: PoolClient | undefined,
  done: (release?: unknown) => void,
) => void;
type QueryCallback = (error: Error | undefined, result?: QueryResult) => void;

/**
 * A `pg.Pool` over all servers of a cluster. What may write goes to the leader, what surely only reads to
 * followers that are near enough; it finds out by itself which server is which, and waits out a failover.
 * Without a session a follower's answer may be older than the caller's last write: see {@link session}.
 *
 * Errors besides PostgreSQL's own: NO_LEADER (not applied) when no server could take a statement within
 * `failoverTimeoutMs`; COMMIT_UNKNOWN when a connection broke under a write; DURABILITY_TIMEOUT (applied)
 * when followers did not confirm a commit in time; NOT_LEADER (not applied) when a connection broke inside
 * a transaction.
 */
export class LockstepPool extends pg.Pool {
  /** Statements that go to the leader, whatever they are. */
  readonly leader: Queryable;
  /**
   * Statements that go to a follower also where a function in them is unknown; to the leader when no
   * follower is near enough or one refuses. What surely writes goes to the leader.
   */
  readonly follower: Queryable;
  readonly #budget: Budget;
  readonly #pools: NodePools;
  readonly #monitor: TopologyMonitor;
  readonly #notifications: Notifications;
  readonly #runner: StatementRunner;
  readonly #source: LeaseSource;
  readonly #sessions: Sessions;
  readonly #connectTimeoutMs: number;
  readonly #checkedOut = new Set<VirtualClient>();
  #leaderSilentSinceMs: number | null = null;
  #whenReturned: (() => void) | null = null;

  constructor(options: ResolvedOptions) {
    super(options.connection);
    const max = this.options.max;
    this.#connectTimeoutMs = options.connection.connectionTimeoutMillis ?? 0;
    this.#budget = new Budget(max, options.limits.maxWaiting);
    this.#pools = new NodePools(options, max, this, (key) => this.#monitor.memberOf(key));
    this.#monitor = new TopologyMonitor(options, {
      leaderChanged: (former, leader) => {
        this.#leaderSilentSinceMs = null;
        this.#pools.destroyConnections(former, `${leader} leads now instead of ${former}`);
        this.#notifications.leave(former);
      },
      leaderReplaced: (node) => {
        this.#pools.destroyConnections(node, `another server answers at ${node} now`);
        this.#notifications.leave(node);
      },
      nodeGone: (node) => this.#pools.forget(node),
      nodeSilent: (node, isLeader) => this.#onSilence(node, isLeader, options.limits.failoverTimeoutMs),
    });
    this.#notifications = new Notifications({
      leadership: () => this.#monitor.leadership,
      describeNodes: () => this.#monitor.describeNodes(),
      configOf: (node) => this.#pools.configOf(node),
      failoverTimeoutMs: options.limits.failoverTimeoutMs,
      heartbeatMs: LISTEN_HEARTBEAT_MS,
    });
    this.#runner = new StatementRunner({
      classifier: createClassifier(this.#monitor, options),
      monitor: this.#monitor,
      traffic: new Traffic(),
      limits: options.limits,
      rules: {
        maxLagBytes: options.limits.maxReadLagBytes,
        maxLagMs: options.limits.maxReadLagMs || Number.POSITIVE_INFINITY,
        zone: options.zone,
        allowsUnknownLag: options.allowsUnknownLag,
      },
      random: Math.random,
    });
    this.#source = {
      acquire: (node) => this.#acquire(node),
      release: (lease, error, leavesState) => this.#release(lease, error, leavesState),
    };
    this.#sessions = new Sessions(this.#runner, this.#source, new SessionTokens(options));
    this.#defineCounts();
    const ambient = (): SessionState | null => this.#sessions.current;
    this.leader = { query: createQuery(this.#runner, this.#source, ambient, 'leader') };
    this.follower = { query: createQuery(this.#runner, this.#source, ambient, 'follower') };
  }

  // The overloads are pg's own, so that its types accept this pool; a config may carry a `durability`.
  override query<T extends Submittable>(queryStream: T): T;
  // oxlint-disable-next-line typescript/no-explicit-any -- pg's signature
  override query<R extends any[] = any[], I = any[]>(
    queryConfig: pg.QueryArrayConfig<I> & { durability?: Durability },
    values?: pg.QueryConfigValues<I>,
  ): Promise<pg.QueryArrayResult<R>>;
  // oxlint-disable-next-line typescript/no-explicit-any -- pg's signature
  override query<R extends pg.QueryResultRow = any, I = any[]>(
    queryConfig: pg.QueryConfig<I> & { durability?: Durability },
  ): Promise<QueryResult<R>>;
  // oxlint-disable-next-line typescript/no-explicit-any -- pg's signature
  override query<R extends pg.QueryResultRow = any, I = any[]>(
    queryTextOrConfig: string | pg.QueryConfig<I>,
    values?: pg.QueryConfigValues<I>,
  ): Promise<QueryResult<R>>;
  // oxlint-disable-next-line typescript/no-explicit-any -- pg's signature
  override query<R extends any[] = any[], I = any[]>(
    queryConfig: pg.QueryArrayConfig<I>,
    callback: (err: Error, result: pg.QueryArrayResult<R>) => void,
  ): void;
  // oxlint-disable-next-line typescript/no-explicit-any -- pg's signature
  override query<R extends pg.QueryResultRow = any, I = any[]>(
    queryTextOrConfig: string | pg.QueryConfig<I>,
    callback: (err: Error, result: QueryResult<R>) => void,
  ): void;
  // oxlint-disable-next-line typescript/no-explicit-any -- pg's signature
  override query<R extends pg.QueryResultRow = any, I = any[]>(
    queryText: string,
    values: pg.QueryConfigValues<I>,
    callback: (err: Error, result: QueryResult<R>) => void,
  ): void;
  override query(textOrConfig: unknown, valuesOrCallback?: unknown, maybeCallback?: unknown): unknown {
    const callback = [maybeCallback, valuesOrCallback, callbackOf(textOrConfig)].find(isFunction) as
      QueryCallback | undefined;
    const values = isFunction(valuesOrCallback) ? undefined : valuesOrCallback;
    const answer = this.#query(textOrConfig, values);
    if (callback === undefined) return answer;
    void settleCallback(answer, callback);
    return undefined;
  }

  /** A client that is bound to a server only while it must be; see docs/client.md. */
  override connect(): Promise<PoolClient>;
  override connect(callback: ConnectCallback): void;
  override connect(callback?: ConnectCallback): Promise<PoolClient> | undefined {
    const checkout = this.#checkout();
    if (callback === undefined) return checkout;
    void settleCallback(checkout, (error, client) => {
      const done = client === undefined ? () => undefined : (client.release as (release?: unknown) => void);
      callback(error, client, done);
    });
    return undefined;
  }

  /** Waits for clients in use to be released, then closes every connection. */
  override end(): Promise<void>;
  override end(callback: () => void): void;
  override end(callback?: (error?: Error) => void): Promise<void> | undefined {
    const ended = this.#end();
    if (callback === undefined) return ended;
    void settleCallback(ended, callback);
    return undefined;
  }

  /**
   * Read-your-writes and monotonic reads, within this process or on from another one's `token`. Throws
   * CONFIG_INVALID for what is not a token of this pool's.
   */
  session(options: SessionOptions = {}): Session {
    return this.#sessions.create(options);
  }

  /**
   * Runs `fn` so that everything below it, however deep and asynchronous, uses the session without being
   * handed it: this pool's `query`, `transaction`, `leader` and `follower`. An inner call's session takes the place of the outer one until it returns, and
   * stands alone: to let the outer one see what the inner one wrote, pass the same session. A session's own
   * methods always mean that session. Returns what `fn` returns. Throws CONFIG_INVALID for another pool's
   * session.
   */
  withSession<T>(sessionOrOptions: Session | SessionOptions, fn: (session: Session) => T): T {
    return this.#sessions.run(sessionOrOptions, fn);
  }

  /** Whether sessions' tokens are signed, so that they may go through a browser, and how long they are good. */
  get tokenPolicy(): { readonly areSigned: boolean; readonly maxAgeMs: number } {
    const { areSigned, maxAgeMs } = this.#sessions.tokens;
    return { areSigned, maxAgeMs };
  }

  /**
   * Runs `fn` in a transaction on the leader. It runs again when the attempt surely had no effect: the
   * connection broke before COMMIT was sent, or PostgreSQL reported a serialization failure or deadlock.
   */
  async transaction<T>(
    fn: (transaction: Transaction) => Promise<T>,
    options: TransactionOptions = {},
  ): Promise<T> {
    this.#requireOpen();
    return runTransaction(
      { runner: this.#runner, source: this.#source, session: this.#sessions.current },
      fn,
      options,
    );
  }

  /**
   * Calls `handler` for each notification on a channel, over one connection of the pool's own to whoever
   * leads. It survives failovers, but what was sent while no leader was listened to is lost: see `onGap`.
   * Throws NO_LEADER (not applied) when none listens within `failoverTimeoutMs`, and CONFIG_INVALID.
   */
  async listen(
    channel: string,
    handler: (notification: Notification) => void,
    options: ListenOptions = {},
  ): Promise<Subscription> {
    this.#requireOpen();
    void this.#monitor.start();
    return this.#notifications.listen(channel, handler, options);
  }

  /** The cluster as last seen; waits for the first look at every server. */
  async topology(): Promise<ClientTopology> {
    await this.#monitor.whenAllAsked();
    const { leadership, view } = this.#monitor;
    return {
      leader: leadership.leader === null ? null : this.#monitor.nameOf(leadership.leader),
      term: leadership.term,
      timeline: leadership.timeline,
      reason: leadership.reason,
      nodes: view.map(({ key, role, isUp, timeline, lsn, lagBytes }) => ({
        name: this.#monitor.nameOf(key),
        host: key.slice(0, key.lastIndexOf(':')),
        port: Number(key.slice(key.lastIndexOf(':') + 1)),
        role,
        isUp,
        timeline,
        lsn: lsn === null ? null : formatLsn(lsn),
        lagBytes,
      })),
    };
  }

  stats(): ClientStats {
    const { traffic } = this.#runner.parts;
    const reads = [...traffic.reads].map(([key, count]) => [this.#monitor.nameOf(key), count] as const);
    const { refused } = this.#sessions.tokens;
    return { ...traffic.counts, readsByNode: Object.fromEntries(reads), tokensRefused: refused };
  }

  /** pg's types call the counts properties, which a subclass cannot declare as accessors. */
  #defineCounts(): void {
    Object.defineProperties(this, {
      totalCount: { get: () => this.#pools.totalCount },
      idleCount: { get: () => this.#pools.idleCount },
      waitingCount: { get: () => this.#budget.waiting },
      expiredCount: { get: () => this.#pools.expiredCount },
    });
  }

  async #query(textOrConfig: unknown, values: unknown): Promise<QueryResult> {
    if (isFunction(textOrConfig)) {
      throw new Error('Passing a function as the first parameter to pool.query is not supported');
    }
    this.#requireOpen();
    if (isSelfSubmitting(textOrConfig)) return this.#submit(textOrConfig as unknown as Submittable);
    const statement = readStatement(textOrConfig, values);
    const { durability } = statement as { durability?: Durability };
    return this.#runner.run(
      { statement, access: 'auto', session: this.#sessions.current, durability },
      this.#source,
    );
  }

  /** As in pg-pool, the promise settles when the query object calls its callback. */
  async #submit(query: Submittable): Promise<QueryResult> {
    const deadlineMs = performance.now() + this.#runner.parts.limits.failoverTimeoutMs;
    const lease = await this.#runner.finder.acquireLeader(this.#source, null, deadlineMs);
    return new Promise((resolve, reject) => {
      const done = (error: Error | null, result: QueryResult): void => {
        this.#release(lease, error ?? undefined, false);
        if (error) reject(error);
        else resolve(result);
      };
      const submit = lease.client.query as (
        this: PoolClient,
        query: Submittable,
        callback: typeof done,
      ) => void;
      submit.call(lease.client, query, done);
    });
  }

  async #checkout(): Promise<PoolClient> {
    this.#requireOpen();
    await this.#budget.take(this.#connectTimeoutMs);
    try {
      await this.#awaitAnyServer();
    } catch (error) {
      this.#budget.give();
      throw error;
    }
    const client = new VirtualClient(this.#runner, this.#pools, (error) =>
      this.#onClientReleased(client, error),
    );
    this.#checkedOut.add(client);
    this.emit('acquire', client);
    return client as unknown as PoolClient;
  }

  /** pg-pool connects before it hands out a client, so that a wrong address shows here. */
  async #awaitAnyServer(): Promise<void> {
    if (this.#monitor.view.some((node) => node.isUp)) return;
    await this.#monitor.start();
    const deadlineMs = performance.now() + this.#runner.parts.limits.failoverTimeoutMs;
    const progress = {
      session: null,
      deadlineMs,
      excluded: new Set<NodeKey>(),
      access: 'any' as const,
      lastError: null,
    };
    await this.#runner.finder.awaitRoute(progress);
  }

  #onClientReleased(client: VirtualClient, error: Error | boolean | undefined): void {
    this.#checkedOut.delete(client);
    this.#budget.give();
    this.emit('release', error, client);
    if (this.#checkedOut.size === 0) this.#whenReturned?.();
  }

  async #acquire(node: NodeKey): Promise<Lease> {
    await this.#budget.take(this.#connectTimeoutMs);
    try {
      return await this.#pools.acquire(node);
    } catch (error) {
      this.#budget.give();
      throw error;
    }
  }

  #release(lease: Lease, error: Error | boolean | undefined, leavesState: boolean): void {
    lease.release(error ?? leavesState);
    this.#budget.give();
  }

  async #end(): Promise<void> {
    if (this.ending) throw new Error('Called end on pool more than once');
    this.#setFlag('ending');
    this.#runner.parts.classifier.close();
    this.#notifications.close();
    if (this.#checkedOut.size > 0) await new Promise<void>((resolve) => (this.#whenReturned = resolve));
    await this.#pools.end();
    this.#monitor.stop();
    this.#setFlag('ended');
  }

  /** pg declares its flags read-only for callers; a subclass keeps them. */
  #setFlag(flag: 'ending' | 'ended'): void {
    (this as { ending: boolean; ended: boolean })[flag] = true;
  }

  #requireOpen(): void {
    if (this.ending) throw new Error('Cannot use a pool after calling end on the pool');
  }

  /** A silent follower's reads go elsewhere at once; a silent leader may yet answer what it was sent. */
  #onSilence(node: NodeKey, isLeader: boolean, patienceMs: number): void {
    const nowMs = performance.now();
    if (isLeader) this.#leaderSilentSinceMs ??= nowMs;
    const silentMs = isLeader ? nowMs - (this.#leaderSilentSinceMs ?? nowMs) : Number.POSITIVE_INFINITY;
    if (silentMs < patienceMs) return;
    this.#leaderSilentSinceMs = isLeader ? null : this.#leaderSilentSinceMs;
    this.#pools.destroyConnections(node, `${node} does not answer`);
  }
}

/**
 * Makes the pool for a cluster: `connect('postgresql://app:secret@db1:5432,db2:5432,db3:5432/app')`, or the
 * same as options. It opens no connection until it is used. Throws CONFIG_INVALID.
 */
export function connect(urlOrOptions: string | LockstepOptions): LockstepPool {
  const options = resolveOptions(urlOrOptions);
  return new LockstepPool(options);
}

function isFunction(value: unknown): value is (...args: never[]) => unknown {
  return typeof value === 'function';
}

/** pg also accepts a callback inside the config. */
function callbackOf(config: unknown): unknown {
  return typeof config === 'object' && config !== null && !isSelfSubmitting(config) && 'callback' in config
    ? config.callback
    : undefined;
}
