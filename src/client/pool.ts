import type pg from 'pg';
import type { PoolClient, QueryResult, Submittable } from 'pg';
import type { RouteExplanation } from './route/core/explain.ts';
import { LockstepError } from '../model/errors.ts';
import { withCallersFrame } from './app/failures.ts';
import { OutcomeTable } from './transaction/outcome.ts';
import { createClassifier } from './classify/leader-catalog.ts';
import { checkOut, releaseOf } from './checkout.ts';
import { NONE_EXCLUDED } from './route/node-finder.ts';
import { checkListener } from './cluster/notifications.ts';
import type { ListenOptions, Notification, Subscription } from './cluster/notifications.ts';
import { refuseUnknownNames } from './app/unknown-name.ts';
import { exportMetrics } from './observe/metrics.ts';
import type { Meter } from './app/meter.ts';
import type { ConnectionCount } from '../wire/contract.ts';
import { Hedger } from './route/hedge.ts';
import { resolveOptions } from './resolve-options.ts';
import type { LockstepOptions, ResolvedOptions } from './app/options.ts';
import { describeTopology, describeTraffic } from './pool-view.ts';
import type { ClientStats, ClientTopology } from './pool-view.ts';
import { PreparedTexts } from './statement/prepared-texts.ts';
import { defineQuery, PgPool } from './statement/query-overloads.ts';
import {
  callbackOf,
  hasStatementOptions,
  isSelfSubmitting,
  readStatement,
  refuseOptionsBeside,
  settleCallback,
} from './statement/queryable.ts';
import type { Queryable } from './statement/queryable.ts';
import { StatementRunner } from './statement/runner.ts';
import { submitOnLeader } from './statement/self-submitting.ts';
import { Servers } from './servers.ts';
import { resolvePoolOptions, SingleServerSource } from './single-server.ts';
import type { LockstepPoolOptions } from './single-server.ts';
import { createQuery, createTransaction } from './session.ts';
import type { Session } from './session.ts';
import { Sessions } from './sessions.ts';
import type { SessionOptions } from './sessions.ts';
import { SessionTokens } from './session/session-tokens.ts';
import { holdWrite } from './session/session-state.ts';
import type { SessionState } from './session/session-state.ts';
import { Traffic } from './cluster/traffic.ts';
import { runStatement } from './transaction/transaction.ts';
import type { TransactionContext } from './transaction/active-transaction.ts';
import type { Batch, BatchResults, Transaction, TransactionOptions } from './transaction/transaction.ts';

type ConnectCallback = (
  error: Error | undefined,
  client: PoolClient | undefined,
  done: (release?: unknown) => void,
) => void;
type QueryCallback = (error: Error | undefined, result?: QueryResult) => void;

/**
 * A `pg.Pool` over all servers of a cluster. What may write goes to the leader, what surely only reads to
 * followers that are near enough; it finds out by itself which server is which, and waits out a failover.
 * A read shows every write that this pool acknowledged before it began, unless `consistency` says otherwise;
 * for less waiting, or for reads that never go back in time, see {@link session}.
 *
 * Errors besides PostgreSQL's own: NO_LEADER (not applied) when no server could take a statement within
 * `failoverTimeoutMs`; COMMIT_UNKNOWN when a connection broke under a write; DURABILITY_TIMEOUT (applied)
 * when followers did not confirm a commit in time; NOT_LEADER (not applied) when a connection broke inside
 * a transaction.
 */
export class LockstepPool extends PgPool {
  /** Statements that go to the leader, whatever they are. */
  readonly leader: Queryable;
  /**
   * Statements that go to a follower also where a function in them is unknown; to the leader when no
   * follower is near enough or one refuses. What surely writes goes to the leader.
   */
  readonly follower: Queryable;
  readonly #isSingleServer: boolean;
  readonly #servers: Servers;
  readonly #runner: StatementRunner;
  readonly #context: TransactionContext;
  readonly #sessions: Sessions;
  readonly #transaction: Session['transaction'];
  readonly #stopMetrics: (() => void) | null;

  /**
   * Takes what `pg.Pool` takes, `Client` and `Promise` included, and Lockstep's own options. Without `hosts` it
   * is `pg.Pool` itself in all that `pg.Pool` does, for one server; the rest of this class works on the same
   * connections. For a cluster see {@link connect}. Throws CONFIG_INVALID.
   */
  constructor(given: LockstepPoolOptions | ResolvedOptions = {}, Client?: typeof pg.Client) {
    const options = 'connection' in given ? given : resolvePoolOptions(given);
    const { limits, clock } = options;
    super(Client === undefined ? options.connection : { Client, ...options.connection });
    this.#isSingleServer = options.isSingleServer ?? false;
    this.#servers = new Servers(options, this.options.max, this);
    const source = this.#isSingleServer
      ? new SingleServerSource(() => super.connect(), this.#servers.observer, clock)
      : this.#servers;
    this.#runner = new StatementRunner({
      classifier: createClassifier(this.#servers.monitor, options),
      monitor: this.#servers.monitor,
      traffic: new Traffic(),
      limits,
      durabilities: options.durabilities,
      prepared: new PreparedTexts(limits.prepareAfter),
      hedger: options.hedgeAfterMs === null ? null : new Hedger(options.hedgeAfterMs, clock),
      rules: {
        maxLagBytes: limits.maxReadLagBytes,
        maxLagMs: limits.maxReadLagMs || Number.POSITIVE_INFINITY,
        zone: options.zone,
        allowsUnknownLag: options.allowsUnknownLag,
      },
      random: Math.random,
      clock,
    });
    const outcomes = new OutcomeTable(limits.outcomeRetentionMs, clock, (text) => this.#runOnLeader(text));
    this.#context = { runner: this.#runner, source, outcomes };
    this.#sessions = new Sessions(this.#context, {
      tokens: new SessionTokens(options),
      // One server shows everything at once.
      consistency: this.#isSingleServer ? 'eventual' : options.consistency,
      observe: (log) => this.#servers.observe(log),
    });
    if (!this.#isSingleServer) this.#defineCounts();
    const ambient = (): SessionState | null => this.#sessions.current;
    this.leader = { query: createQuery(this.#context, ambient, 'leader') };
    this.follower = { query: createQuery(this.#context, ambient, 'follower') };
    this.#transaction = createTransaction(this.#context, ambient);
    this.#stopMetrics = options.meter === null ? null : this.#exportMetrics(options.meter);
  }

  static {
    defineQuery(this, function query(this: LockstepPool, textOrConfig, valuesOrCallback, maybeCallback) {
      const hasBeside = typeof maybeCallback === 'object' && maybeCallback !== null;
      if (
        this.#isSingleServer &&
        this.#sessions.current === null &&
        !hasBeside &&
        !hasStatementOptions(textOrConfig)
      )
        return PgPool.prototype.query.call(
          this,
          textOrConfig as never,
          valuesOrCallback as never,
          maybeCallback as never,
        );
      const values = isFunction(valuesOrCallback) ? undefined : valuesOrCallback;
      const answer = this.#query(textOrConfig, values, maybeCallback);
      const callback = maybeCallback ?? (isFunction(valuesOrCallback) ? valuesOrCallback : undefined);
      const own = callback ?? (isFunction(textOrConfig) ? textOrConfig : callbackOf(textOrConfig));
      if (!isFunction(own)) return withCallersFrame(answer);
      settleCallback(answer, own as QueryCallback);
      return undefined;
    });
  }

  /** A client that is bound to a server only while it must be; see docs/client.md. */
  override connect(): Promise<PoolClient>;
  override connect(callback: ConnectCallback): void;
  override connect(callback?: ConnectCallback): Promise<PoolClient> | undefined {
    if (this.#isSingleServer) return super.connect(callback as never) as Promise<PoolClient> | undefined;
    const session = this.#sessions.current;
    const checkout = holdWrite(session, this.#checkout());
    if (callback === undefined) return checkout;
    settleCallback(checkout, (error, client) => callback(error, client, releaseOf(client)));
    return undefined;
  }

  /** Waits until what was accepted is done and clients in use are released, then closes every connection. */
  override end(): Promise<void>;
  override end(callback: () => void): void;
  override end(callback?: (error?: Error) => void): Promise<void> | undefined {
    const ended = this.#isSingleServer ? super.end().finally(() => this.#leave()) : this.#end();
    if (callback === undefined) return ended;
    settleCallback(ended, callback);
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
   * handed it: this pool's `query`, `transaction`, `leader`, `follower`, and clients of `connect()`, so also an
   * ORM on this pool. An inner call's session takes the place of the outer one until it returns, and
   * stands alone: to let the outer one see what the inner one wrote, pass the same session. A session's own
   * methods always mean that session. Returns what `fn` returns. Throws CONFIG_INVALID for another pool's
   * session.
   */
  withSession<T>(sessionOrOptions: Session | SessionOptions, fn: (session: Session) => T): T {
    return this.#sessions.run(sessionOrOptions, fn);
  }

  /** Whether sessions' tokens are signed, so that they may go through a browser, and how long they are good. */
  get tokenPolicy(): Readonly<Pick<SessionTokens, 'areSigned' | 'maxAgeMs'>> {
    return this.#sessions.tokens;
  }

  /**
   * Runs `fn` in a transaction on the leader. It runs again when the attempt surely had no effect: the
   * connection broke before COMMIT was sent, or PostgreSQL reported a serialization failure or deadlock.
   */
  transaction<T>(fn: (transaction: Transaction) => Promise<T>, options?: TransactionOptions): Promise<T>;
  /** The same for statements that are known in advance, in one round trip: see {@link runBatch}. */
  transaction<const Modes extends readonly unknown[]>(
    statements: Batch<Modes>,
    options?: TransactionOptions,
  ): Promise<BatchResults<Modes>>;
  async transaction(work: never, options?: TransactionOptions): Promise<unknown> {
    this.#requireOpen();
    return this.#transaction(work, options);
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
    checkListener(handler, options);
    const { finder, parts } = this.#runner;
    const deadlineMs = parts.clock.nowMs() + parts.limits.failoverTimeoutMs;
    const excluded = NONE_EXCLUDED;
    await finder.awaitRoute({ session: null, deadlineMs, excluded, access: 'leader', lastError: null });
    return withCallersFrame(this.#servers.notifications.listen(channel, handler, options));
  }

  /** The cluster as last seen; waits for the first look at every server. */
  async topology(): Promise<ClientTopology> {
    const { monitor } = this.#servers;
    await monitor.whenAllAsked();
    return describeTopology(monitor);
  }

  /**
   * Where a single statement would go now, and why: what its text is taken for, and of each server why it may
   * or may not take it. `String()` makes a text of it for people. Nothing is sent. Throws CONFIG_INVALID for
   * another pool's session.
   */
  async explainRoute(sql: string, options: { readonly session?: Session } = {}): Promise<RouteExplanation> {
    this.#requireOpen();
    refuseUnknownNames('explainRoute()', options, ['session']);
    const { session } = options;
    const state = session === undefined ? this.#sessions.current : this.#sessions.stateOf(session);
    await this.#servers.monitor.whenAllAsked();
    return this.#runner.finder.explain(this.#runner.parts.classifier.classify(sql), state);
  }

  stats(): ClientStats {
    return describeTraffic(this.#runner.parts.traffic, this.#servers.monitor, this.#sessions.tokens);
  }

  /** pg's types call the counts properties, which a subclass cannot declare as accessors. */
  #defineCounts(): void {
    Object.defineProperties(this, {
      totalCount: { get: () => this.#servers.placeCount },
      idleCount: { get: () => this.#servers.placeCount - this.#servers.budget.inUse },
      waitingCount: { get: () => this.#servers.budget.waiting },
      expiredCount: { get: () => this.#servers.pools.expiredCount },
    });
  }

  #query(textOrConfig: unknown, values: unknown, beside: unknown): Promise<QueryResult> {
    try {
      refuseOptionsBeside(beside);
      if (isFunction(textOrConfig)) {
        throw new Error('Passing a function as the first parameter to pool.query is not supported');
      }
      this.#requireOpen();
      if (isSelfSubmitting(textOrConfig)) {
        const query = textOrConfig as unknown as Submittable;
        return this.#runner.pending.hold(
          submitOnLeader(this.#runner, this.#context.source, this.#sessions.current, query),
        );
      }
      const statement = readStatement(textOrConfig, values);
      return runStatement(this.#context, this.#sessions.current, 'auto', statement);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  async #runOnLeader(text: string): Promise<number> {
    const request = { statement: { text }, access: 'leader', session: null } as const;
    return (await this.#runner.run(request, this.#context.source)).rowCount ?? 0;
  }

  async #checkout(): Promise<PoolClient> {
    this.#requireOpen();
    const client = await checkOut({
      servers: this.#servers,
      runner: this.#runner,
      config: this.options,
      sessionOf: () => this.#sessions.current,
      released: (released, error) => void this.emit('release', error, released),
    });
    this.emit('acquire', client);
    return client as unknown as PoolClient;
  }

  async #end(): Promise<void> {
    if (this.ending) throw new Error('Called end on pool more than once');
    this.#setFlag('ending');
    this.#servers.notifications.close();
    await this.#runner.pending.whenNone();
    await this.#leave();
    this.#setFlag('ended');
  }

  #exportMetrics(meter: Meter): () => void {
    const { monitor, pools } = this.#servers;
    const own = (): ConnectionCount[] => {
      const { leader } = monitor.leadership;
      return leader === null ? [] : [{ node: leader, total: this.totalCount, idle: this.idleCount }];
    };
    return exportMetrics(meter, {
      monitor,
      traffic: this.#runner.parts.traffic,
      database: this.options.database ?? '',
      maxConnections: this.options.max,
      connections: () => (this.#isSingleServer ? own() : pools.counts),
      waitingCount: () => this.waitingCount,
    });
  }

  #leave(): Promise<void> {
    this.#stopMetrics?.();
    this.#runner.parts.classifier.close();
    this.#servers.notifications.close();
    return this.#servers.end();
  }

  /** pg declares its flags read-only for callers; a subclass keeps them. */
  #setFlag(flag: 'ending' | 'ended'): void {
    (this as { ending: boolean; ended: boolean })[flag] = true;
  }

  #requireOpen(): void {
    if (this.ending) throw new Error('Cannot use a pool after calling end on the pool');
  }
}

/**
 * Makes the pool for a cluster: `connect('postgresql://app:secret@db1:5432,db2:5432,db3:5432/app')`, or the
 * same as options. It opens no connection until it is used. Throws CONFIG_INVALID, also for `undefined`, which
 * is what an environment variable that nobody has set gives.
 */
export function connect(urlOrOptions: string | LockstepOptions | undefined): LockstepPool;
export function connect(
  urlOrOptions: string | LockstepOptions | undefined,
  ...others: readonly unknown[]
): LockstepPool {
  if (others.some((other) => other !== undefined))
    throw new LockstepError(
      'CONFIG_INVALID',
      'Give one object that holds the URL too: connect({ connectionString, ...options }).',
    );
  const options = resolveOptions(urlOrOptions ?? {});
  return new LockstepPool(options);
}

function isFunction(value: unknown): value is (...args: never[]) => unknown {
  return typeof value === 'function';
}
