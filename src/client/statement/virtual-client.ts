import { EventEmitter } from 'node:events';
import pg from 'pg';
import type { PoolClient, QueryResult, TransactionStatus } from 'pg';
import { exchangeWithinLimit, refuseManyStatements, resolveCommitWait } from './durability.ts';
import { mayWrite } from '../classify/core/classify.ts';
import type { Classification } from '../classify/core/classify.ts';
import { withoutName } from '../../wire/exchange.ts';
import type { ExchangePlan, ExchangeReport, Lease } from '../../wire/contract.ts';
import type { NodePools } from '../../wire/node-pools.ts';
import type { NodeKey } from '../../model/node.ts';
import { failSubmitted, isSelfSubmitting, keyRefused, readCall, settleCallback } from './queryable.ts';
import type { SelfSubmitting, StatementConfig } from './queryable.ts';
import { toError } from '../../wire/hook-errors.ts';
import { clientClosed, isAppsOwn, stateLost, transactionLost, withCallersFrame } from '../app/failures.ts';
import type { RouteProgress } from '../route/node-finder.ts';
import type { LeaseSource } from '../cluster/lease-source.ts';
import { Sequence } from '../../model/sequence.ts';
import { learnFromEffect, lostAnswer, refuseUnconfirmed } from '../session/commit-epilogue.ts';
import { createDurability, LEADER_QUESTION, readLeaderAnswer } from '../session/gate.ts';
import { asksLeader, learnFromRefusal, learnFromSubmitted } from '../session/leader-answers.ts';
import { holdWrite } from '../session/session-state.ts';
import type { SessionState } from '../session/session-state.ts';
import type { StatementRunner } from './runner.ts';

const ROLLED_BACK: QueryResult = { command: 'ROLLBACK', rowCount: null, oid: 0, fields: [], rows: [] };

type Callback = (error: Error | undefined, result?: unknown) => void;

/** The part of the pools that a client draws on. */
type LeasePools = Pick<NodePools, 'tryAcquire' | 'acquire'>;

/**
 * What `pool.connect()` hands out: a client that is bound to a server only while it must be. Each
 * statement outside a transaction goes where it belongs; from BEGIN until the transaction ends everything
 * goes to the leader. State left in the connection (SET, LISTEN, temporary tables, session advisory locks)
 * binds the client to that connection until release, which then closes it. A connection that breaks while it
 * holds nothing of the client's is not told: another takes its place. Else `error` is emitted where somebody
 * listens, and `end` when state was lost.
 */
export class VirtualClient extends EventEmitter {
  readonly #runner: StatementRunner;
  readonly #pools: LeasePools;
  readonly #onRelease: (error: Error | boolean | undefined) => void;
  readonly #source: LeaseSource;
  /** The session that is ambient where a query is called. */
  readonly #sessionOf: () => SessionState | null;
  #held: Lease | null = null;
  /** `kept`: a cursor may be open. `state`: the connection must not serve anyone else afterwards. */
  #pin: 'none' | 'kept' | 'state' = 'none';
  #isTransactionLost = false;
  /** Whether a BEGIN is under way, which the runner may yet take back and repeat on another server. */
  #isBeginning = false;
  #isStateLost = false;
  #isReleased = false;
  #isEnded = false;
  readonly #sequence: Sequence = new Sequence();
  #outstanding = 0;

  constructor(
    runner: StatementRunner,
    pools: LeasePools,
    onRelease: (error: Error | boolean | undefined) => void,
    sessionOf: () => SessionState | null,
  ) {
    super();
    this.#runner = runner;
    this.#pools = pools;
    this.#onRelease = onRelease;
    this.#sessionOf = sessionOf;
    this.#source = {
      // It is connected: what it waits for now is a failover.
      waitLimitMs: Number.POSITIVE_INFINITY,
      holdsTransactions: true,
      tryAcquire: (node) => this.#tryBind(node),
      acquire: (node) => this.#bind(node),
      release: (lease, error, state) => this.#keep(lease, error, state),
    };
  }

  /** pg's forms: text, values and callback; a config; a query object that submits itself. */
  query(textOrConfig: unknown, valuesOrCallback?: unknown, maybeCallback?: unknown): unknown {
    if (isSelfSubmitting(textOrConfig)) {
      const given = [maybeCallback, valuesOrCallback].find((value) => typeof value === 'function');
      return this.#submit(textOrConfig, given as Callback | undefined);
    }
    const { statement, callback } = readCall(textOrConfig, valuesOrCallback, maybeCallback);
    const session = this.#sessionOf();
    const answer = this.#enqueue(() => this.#run(statement, session));
    return callback === undefined ? withCallersFrame(answer) : settleCallback(answer, callback);
  }

  /** Gives the place back. With an error or true the connection is closed. Throws when called twice. */
  readonly release = (error?: Error | boolean): void => {
    if (this.#isEnded) return void (this.#isEnded = false);
    if (this.#isReleased)
      throw new Error('Release called on client which has already been released to the pool.');
    this.#isReleased = true;
    const held = this.#held;
    this.#held = null;
    if (held !== null) {
      this.#unwatch(held);
      held.release(error || this.#isInTransaction(held) || this.#pin === 'state');
    }
    this.#onRelease(error);
  };

  /** `T` in a transaction, `E` in a failed or lost one, `I` outside. */
  getTransactionStatus(): TransactionStatus {
    if (this.#isTransactionLost) return 'E';
    return this.#held?.client.getTransactionStatus() ?? 'I';
  }

  /** Process id of the server process that is bound right now; null while none is. */
  get processID(): number | null {
    return (this.#held?.client as { processID?: number } | undefined)?.processID ?? null;
  }

  get connection(): PoolClient['connection'] | undefined {
    return this.#held?.client.connection;
  }

  get host(): string | undefined {
    return this.#held?.client.host;
  }

  get port(): number | undefined {
    return this.#held?.client.port;
  }

  escapeIdentifier(text: string): string {
    return pg.escapeIdentifier(text);
  }

  escapeLiteral(text: string): string {
    return pg.escapeLiteral(text);
  }

  setTypeParser(...args: Parameters<PoolClient['setTypeParser']>): void {
    this.#pin = 'state';
    void this.#enqueue(async () => {
      const lease = await this.#bindLeader();
      lease.client.setTypeParser(...args);
    }).catch(() => undefined);
  }

  getTypeParser(...args: Parameters<PoolClient['getTypeParser']>): unknown {
    return this.#held === null ? pg.types.getTypeParser(...args) : this.#held.client.getTypeParser(...args);
  }

  ref(): void {
    (this.#held?.client as { ref?(): void } | undefined)?.ref?.();
  }

  unref(): void {
    (this.#held?.client as { unref?(): void } | undefined)?.unref?.();
  }

  /** pg lets a pooled client be ended, which takes its connection out of the pool; it may still be released then. */
  end(callback?: () => void): Promise<void> | undefined {
    if (!this.#isReleased) {
      this.release(true);
      this.#isEnded = true;
    }
    if (callback === undefined) return Promise.resolve();
    process.nextTick(callback);
    return undefined;
  }

  #enqueue<T>(work: () => Promise<T>): Promise<T> {
    this.#outstanding += 1;
    const done = this.#sequence.run(() => (this.#isReleased ? Promise.reject(clientClosed()) : work()));
    const settled = (): void => {
      this.#outstanding -= 1;
      if (this.#outstanding === 0 && this.listenerCount('drain') > 0) this.emit('drain');
    };
    done.then(settled, settled);
    return done;
  }

  #run(statement: StatementConfig, session: SessionState | null): Promise<QueryResult> {
    if (statement.idempotencyKey !== undefined) return Promise.reject(keyRefused());
    const classification = this.#runner.parts.classifier.classify(statement.text);
    if (this.#isTransactionLost) return this.#runAfterLoss(classification);
    if (this.#isStateLost) return Promise.reject(stateLost(new Error('Connection terminated unexpectedly')));
    // A catch block's ROLLBACK after a failed COMMIT has nothing to do, and must not wait for a leader.
    if (classification.kind === 'rollback' && this.getTransactionStatus() === 'I')
      return Promise.resolve(ROLLED_BACK);
    if (this.#held !== null && (this.#pin !== 'none' || this.#isInTransaction(this.#held))) {
      const done = this.#runHeld(this.#held, statement, classification, session);
      return mayWrite(classification) ? holdWrite(session, done) : done;
    }
    const access = this.#pin === 'none' ? 'auto' : 'leader';
    const answer = this.#runner.run({ statement, access, session }, this.#source);
    return classification.kind === 'begin' ? this.#awaitBegin(answer) : answer;
  }

  async #awaitBegin(answer: Promise<QueryResult>): Promise<QueryResult> {
    this.#isBeginning = true;
    try {
      return await answer;
    } finally {
      this.#isBeginning = false;
    }
  }

  #isInTransaction(lease: Lease): boolean {
    return lease.client.getTransactionStatus() !== 'I';
  }

  /** Nothing of a lost transaction may run outside it: only its end is accepted. */
  async #runAfterLoss({ kind }: Classification): Promise<QueryResult> {
    if (kind === 'rollback' || kind === 'commit') this.#isTransactionLost = false;
    if (kind === 'rollback') return ROLLED_BACK;
    throw transactionLost('of this client', new Error('Connection terminated unexpectedly'));
  }

  async #runHeld(
    lease: Lease,
    statement: StatementConfig,
    classification: Classification,
    session: SessionState | null,
  ): Promise<QueryResult> {
    const { monitor, limits, traffic, durabilities, clock } = this.#runner.parts;
    const { level, limitMs } = resolveCommitWait(statement, durabilities, limits.durabilityTimeoutMs);
    if (level !== null) refuseManyStatements(classification);
    const wasInTransaction = this.#isInTransaction(lease);
    const mayCommit = !wasInTransaction || endsTransaction(classification);
    const isCommit = classification.kind === 'commit';
    const isHarmless = classification.kind === 'read' || classification.kind === 'leader-read';
    const mayApply = session !== null && mayCommit && !isHarmless && classification.form !== 'copy';
    const isRollback = classification.kind === 'rollback';
    const asks = (mayApply || isRollback) && asksLeader(session, monitor, true);
    // A failed transaction takes nothing but its end.
    const isOpen = lease.client.getTransactionStatus() !== 'E';
    const before = level !== null && isOpen ? [createDurability(level)] : undefined;
    const question = asks ? LEADER_QUESTION : undefined;
    const plan: ExchangePlan = { statements: [statement], before, question };
    const limit = { monitor, limitMs: mayCommit ? limitMs : 0, isCommit };
    const startedAtMs = clock.nowMs();
    const report = await exchangeWithinLimit(lease, plan, limit);
    if (mayApply && (report === null || isApplied(report, isCommit)))
      learnFromEffect(session, monitor, report, { level, isWrite: true, startedAtMs });
    else if (session !== null) {
      const answer = report?.answerOf(LEADER_QUESTION.name) ?? null;
      learnFromRefusal(session, monitor, readLeaderAnswer(answer, level), startedAtMs);
    }
    if (classification.kind === 'session') this.#pin = 'state';
    if (isCommit || classification.kind === 'write') traffic.counts.writes += 1;
    if (report === null) {
      this.#drop(lease, true);
      refuseUnconfirmed(monitor, lease.node, report, limitMs);
    }
    if (!report.isBroken) {
      if (report.hasStalePlan && !wasInTransaction)
        return this.#runHeld(lease, withoutName(statement), classification, session);
      if (report.error !== null) throw report.error;
      refuseUnconfirmed(monitor, lease.node, report, limitMs);
      return report.results[0] as QueryResult;
    }
    const error = report.error ?? new Error('Connection terminated unexpectedly');
    this.#drop(lease, error);
    this.#loseState(null);
    this.#isTransactionLost = wasInTransaction && !mayCommit;
    const isUnknown = !isAppsOwn(error) && report.isSent && mayCommit && !isHarmless;
    if (isUnknown) throw lostAnswer(this.#runner.parts, lease.node, error);
    void monitor.probeNow(lease.node);
    if (isAppsOwn(error)) throw error;
    throw wasInTransaction ? transactionLost(monitor.nameOf(lease.node), error) : stateLost(error);
  }

  /** Cursors read on over many messages, so the connection stays with this client until release. */
  #submit(query: SelfSubmitting, callback: Callback | undefined): SelfSubmitting {
    const session = this.#runner.mayWriteItself(query) ? this.#sessionOf() : null;
    void this.#enqueue(async () => {
      const lease = this.#held ?? (await this.#bindLeader());
      if (this.#pin === 'none') this.#pin = 'kept';
      // What it writes takes effect with its end, or with its transaction's, which is asked behind.
      if (session !== null)
        lease.client.once('drain', () => {
          if (!this.#isInTransaction(lease)) learnFromSubmitted(session, this.#runner.parts.monitor);
        });
      const submit = lease.client.query as (this: PoolClient, query: unknown, callback?: Callback) => void;
      submit.call(lease.client, query, callback);
    }).catch((error: unknown) => failSubmitted(query, callback, toError(error)));
    return query;
  }

  #bindLeader(): Promise<Lease> {
    const { finder, parts } = this.#runner;
    const deadlineMs = parts.clock.nowMs() + parts.limits.failoverTimeoutMs;
    return finder.acquireLeader(this.#source, null, deadlineMs);
  }

  /** Takes a connection ahead of the first statement, which uses it if it may go there. Throws what connecting throws. */
  async open(progress: RouteProgress): Promise<void> {
    await this.#runner.finder.acquire(this.#source, progress);
  }

  /** The one place of this client may hold one connection, so the one to another server goes back first. */
  async #bind(node: NodeKey): Promise<Lease> {
    if (this.#isReleased) throw clientClosed();
    const held = this.#held;
    if (held !== null) {
      if (held.node === node && isUsable(held)) return held;
      this.#drop(held, undefined);
    }
    const lease = await this.#pools.acquire(node);
    if (this.#isReleased) {
      lease.release();
      throw clientClosed();
    }
    return this.#hold(lease);
  }

  #tryBind(node: NodeKey): Lease | null {
    const held = this.#held;
    if (held !== null && held.node === node) return isUsable(held) ? held : null;
    const lease = this.#isReleased ? null : this.#pools.tryAcquire(node);
    if (lease === null) return null;
    if (held !== null) this.#drop(held, undefined);
    return this.#hold(lease);
  }

  #hold(lease: Lease): Lease {
    this.#held = lease;
    lease.client.on('notice', this.#onNotice);
    lease.client.on('notification', this.#onNotification);
    lease.client.on('error', this.#onError);
    return lease;
  }

  #keep(lease: Lease, error: Error | boolean | undefined, leavesState: boolean): void {
    // From here on the transaction is the app's.
    if (leavesState) this.#isBeginning = false;
    if (error !== undefined) this.#drop(lease, error);
    else if (leavesState && !this.#isInTransaction(lease)) this.#pin = 'state';
  }

  #drop(lease: Lease, error: Error | boolean | undefined): void {
    if (this.#held !== lease) return;
    this.#held = null;
    this.#pin = this.#pin === 'state' ? 'state' : 'none';
    this.#unwatch(lease);
    lease.release(error);
  }

  #unwatch({ client }: Lease): void {
    client.removeListener('notice', this.#onNotice);
    client.removeListener('notification', this.#onNotification);
    client.removeListener('error', this.#onError);
  }

  readonly #onNotice = (notice: unknown): void => void this.emit('notice', notice);

  readonly #onNotification = (message: unknown): void => void this.emit('notification', message);

  readonly #onError = (error: Error): void => {
    const held = this.#held;
    if (held === null) return;
    const isInTransaction = !this.#isBeginning && this.#isInTransaction(held);
    if (isInTransaction) this.#isTransactionLost = true;
    const isLoss = isInTransaction || this.#pin !== 'none';
    this.#drop(held, error);
    this.#loseState(isLoss ? error : null);
  };

  /** With what was set, the client is at its end: nothing runs on it any more, also not what a listener calls. */
  #loseState(error: Error | null): void {
    const endsNow = this.#pin === 'state' && !this.#isStateLost;
    this.#isStateLost ||= endsNow;
    if (error !== null && this.listenerCount('error') > 0) this.emit('error', error);
    if (endsNow) this.emit('end');
  }
}

/** Whether the statement may end the transaction it runs in, so that its effect is unknown when it breaks. */
function endsTransaction({ kind, isSingle, form }: Classification): boolean {
  return kind === 'commit' || !isSingle || form === 'prepare-transaction';
}

/** A failed transaction's COMMIT is answered with ROLLBACK. */
function isApplied(report: ExchangeReport, isCommit: boolean): boolean {
  const { command } = (report.results[0] ?? {}) as Partial<QueryResult>;
  return report.error === null && !report.isBroken && (!isCommit || command === 'COMMIT');
}

function isUsable(lease: Lease): boolean {
  return lease.client.connection.stream.writable;
}
