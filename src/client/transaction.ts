import type { QueryResult } from 'pg';
import { isSynchronous, parseDurability } from '../model/durability.ts';
import type { Durability, SynchronousCommit } from '../model/durability.ts';
import { LockstepError } from '../model/errors.ts';
import { codeOf, isSerializationConflict, READ_ONLY_TRANSACTION } from './core/retry.ts';
import { exchangeWithinLimit } from './durability.ts';
import type { Rider } from './batch.ts';
import type { Classification } from './core/classify.ts';
import { exchange } from './exchange.ts';
import type { ExchangeReport, StatementConfig } from './exchange.ts';
import { commitUnknown, durabilityTimeout, isOwnTimeout, transactionLost } from './failures.ts';
import { createLocalDurability, LEADER_QUESTION, readLeaderAnswer } from './gate.ts';
import type { LeaseSource } from './node-finder.ts';
import type { Lease } from './node-pools.ts';
import { readStatement } from './queryable.ts';
import { Sequence } from './sequence.ts';
import type { Queryable } from './queryable.ts';
import type { StatementRunner } from './runner.ts';
import type { SessionState } from './session-state.ts';

/** How a transaction runs. */
export interface TransactionOptions {
  /** What the commit waits for. Default: the server's `synchronous_commit`. */
  readonly durability?: Durability | undefined;
  /** Default: the server's `default_transaction_isolation`. */
  readonly isolation?: 'read committed' | 'repeatable read' | 'serializable' | undefined;
  readonly readOnly?: boolean | undefined;
  /** With `serializable` and `readOnly`: wait for a snapshot that cannot fail. */
  readonly deferrable?: boolean | undefined;
  /** How often it may run again after a serialization failure or deadlock; `false` is 0. Default 5. */
  readonly retry?: number | boolean | undefined;
}

/** What `transaction()` hands to its function: statements of that transaction, one after another. */
export type Transaction = Queryable;

const DEFAULT_MAX_RETRIES = 5;

const ISOLATIONS = new Set(['read committed', 'repeatable read', 'serializable']);

/** What {@link runTransaction} works with. */
export interface TransactionParts {
  readonly runner: StatementRunner;
  readonly source: LeaseSource;
  readonly session: SessionState | null;
}

/**
 * Runs `fn` between BEGIN and COMMIT on the leader. `fn` runs again when the transaction surely had no
 * effect: the connection broke before COMMIT was sent (within `failoverTimeoutMs`), or PostgreSQL rolled it
 * back as a serialization failure or deadlock. So `fn` should touch nothing but the transaction. BEGIN
 * travels with the first statement.
 */
export async function runTransaction<T>(
  parts: TransactionParts,
  fn: (transaction: Transaction) => Promise<T>,
  options: TransactionOptions,
): Promise<T> {
  return runAttempts(parts, options, async (active) => {
    const value = await fn(active);
    await active.commit();
    return value;
  });
}

/**
 * Runs statements that are known in advance as one transaction in one round trip. It runs again under the
 * same conditions as {@link runTransaction}; when a statement fails, none of them has an effect.
 */
export async function runBatch(
  parts: TransactionParts,
  statements: readonly StatementConfig[],
  options: TransactionOptions,
): Promise<QueryResult[]> {
  if (statements.length === 0) return [];
  const { classifier } = parts.runner.parts;
  for (const { text } of statements) {
    const classification = classifier.classify(text);
    refuseTransactionControl(classification);
    if (classification.isSingle) continue;
    throw new LockstepError(
      'CONFIG_INVALID',
      'A batch takes one statement in each text; split the text at its semicolons.',
    );
  }
  return runAttempts(parts, options, (active) => active.runWhole(statements));
}

async function runAttempts<T>(
  parts: TransactionParts,
  options: TransactionOptions,
  attempt: (active: ActiveTransaction) => Promise<T>,
): Promise<T> {
  const { runner, source, session } = parts;
  const level = options.durability === undefined ? null : parseDurability(options.durability);
  const opening = planOpening(options, level);
  const deadlineMs = performance.now() + runner.parts.limits.failoverTimeoutMs;
  let retriesLeft = retriesOf(options);
  for (;;) {
    const lease =
      runner.finder.tryAcquireLeader(source, session) ??
      (await runner.finder.acquireLeader(source, session, deadlineMs));
    const active = new ActiveTransaction(parts, lease, level, opening);
    try {
      return await attempt(active);
    } catch (error) {
      await active.rollback();
      const isConflict = isSerializationConflict(codeOf(error));
      const isElsewhere = active.wasLostThrough(error) || (await ledElsewhere(runner, lease, options, error));
      const mayRetry = isConflict ? retriesLeft > 0 : isElsewhere && performance.now() < deadlineMs;
      if (!mayRetry) throw error;
      if (isConflict) retriesLeft -= 1;
      runner.parts.traffic.counts.retried += 1;
    } finally {
      active.release();
    }
  }
}

function retriesOf({ retry = true }: TransactionOptions): number {
  if (typeof retry === 'boolean') return retry ? DEFAULT_MAX_RETRIES : 0;
  if (Number.isInteger(retry) && retry >= 0) return retry;
  throw new LockstepError(
    'CONFIG_INVALID',
    `"retry" is ${String(retry)}; expected true, false or a whole number from 0.`,
  );
}

function refuseTransactionControl({ kind }: Classification): void {
  if (kind !== 'begin' && kind !== 'commit' && kind !== 'rollback') return;
  throw new LockstepError(
    'CONFIG_INVALID',
    'transaction() begins and commits by itself; throw an error from its function to roll back.',
  );
}

/** Whether a write was refused because the node had become a follower in the meantime. */
async function ledElsewhere(
  runner: StatementRunner,
  lease: Lease,
  options: TransactionOptions,
  error: unknown,
): Promise<boolean> {
  if (codeOf(error) !== READ_ONLY_TRANSACTION || options.readOnly === true) return false;
  return !(await runner.finder.confirmsLeader(lease.node));
}

/** BEGIN and what must hold from the start. */
function planOpening(options: TransactionOptions, level: SynchronousCommit | null): readonly Rider[] {
  const { isolation, readOnly, deferrable } = options;
  if (isolation !== undefined && !ISOLATIONS.has(isolation)) {
    const known = [...ISOLATIONS].join(', ');
    throw new LockstepError(
      'CONFIG_INVALID',
      `"${String(isolation)}" is not an isolation; use one of ${known}.`,
    );
  }
  const isolationSql = isolation === undefined ? '' : ` ISOLATION LEVEL ${isolation.toUpperCase()}`;
  const accessSql = readOnly === true ? ' READ ONLY' : '';
  const deferrableSql = deferrable === true ? ' DEFERRABLE' : '';
  const text = `BEGIN${isolationSql}${accessSql}${deferrableSql}`;
  const begin: Rider = { name: `lockstep_${text}`, text, values: [] };
  return level === null ? [begin] : [begin, createLocalDurability(level)];
}

const COMMIT: Rider = { name: 'lockstep_commit', text: 'COMMIT', values: [] };

/** One attempt of a transaction, on one connection. */
class ActiveTransaction {
  readonly #parts: TransactionParts;
  readonly #lease: Lease;
  readonly #level: SynchronousCommit | null;
  /** What the first statement carries in front; then nothing. */
  #opening: readonly Rider[];
  #state: 'unopened' | 'open' | 'ended' | 'failed' | 'lost' = 'unopened';
  #lostThrough: Error | null = null;
  /** The first error of PostgreSQL's: why COMMIT turns into ROLLBACK when the function swallowed it. */
  #firstError: Error | null = null;
  #leavesState = false;
  readonly #sequence: Sequence = new Sequence();

  constructor(
    parts: TransactionParts,
    lease: Lease,
    level: SynchronousCommit | null,
    opening: readonly Rider[],
  ) {
    this.#parts = parts;
    this.#lease = lease;
    this.#level = level;
    this.#opening = opening;
  }

  /** Whether `error` tells that the connection broke before COMMIT was sent. */
  wasLostThrough(error: unknown): boolean {
    if (this.#lostThrough === null) return false;
    return error === this.#lostThrough || (error instanceof Error && error.cause === this.#lostThrough);
  }

  query(textOrConfig: unknown, values?: unknown): Promise<never> {
    const run = (): Promise<QueryResult> => this.#run(textOrConfig, values);
    // The overloads of Queryable say what the statement's rows are; here they pass through unseen.
    return this.#sequence.run(run) as Promise<never>;
  }

  async #run(textOrConfig: unknown, values: unknown): Promise<QueryResult> {
    const statement = readStatement(textOrConfig, values);
    const classification = this.#parts.runner.parts.classifier.classify(statement.text);
    refuseTransactionControl(classification);
    if (classification.kind === 'session') this.#leavesState = true;
    if (this.#state === 'unopened' && !classification.isSingle) await this.#open();
    return this.#send(statement);
  }

  /** For several statements in one text, which BEGIN cannot travel with. */
  async #open(): Promise<void> {
    const report = await exchange(this.#lease, { statements: [], before: this.#takeOpening() });
    this.#requireAnswer(report);
  }

  #takeOpening(): readonly Rider[] {
    const opening = this.#opening;
    this.#opening = [];
    if (this.#state === 'unopened') this.#state = 'open';
    return opening;
  }

  #giveBack(opening: readonly Rider[]): void {
    this.#opening = opening;
    this.#state = 'unopened';
  }

  async commit(): Promise<void> {
    await this.#sequence.whenIdle();
    this.#requireUsable();
    const isEmpty = this.#state === 'unopened';
    this.#state = 'ended';
    if (isEmpty) return;
    await this.#commitWith([]);
  }

  /** BEGIN, all statements and COMMIT in one flight. */
  async runWhole(statements: readonly StatementConfig[]): Promise<QueryResult[]> {
    const { classifier } = this.#parts.runner.parts;
    this.#leavesState = statements.some(({ text }) => classifier.classify(text).kind === 'session');
    return this.#commitWith(statements);
  }

  async #commitWith(statements: readonly StatementConfig[]): Promise<QueryResult[]> {
    const { runner, session } = this.#parts;
    const { monitor, limits, traffic } = runner.parts;
    const { node } = this.#lease;
    const startedAtMs = performance.now();
    const before = this.#takeOpening();
    const after = session === null ? [COMMIT] : [COMMIT, LEADER_QUESTION];
    const mayWait = this.#level === null || isSynchronous(this.#level);
    const report = await exchangeWithinLimit(
      this.#lease,
      { statements, before, after },
      { monitor, limitMs: mayWait ? limits.durabilityTimeoutMs : 0, isCommit: statements.length === 0 },
    );
    traffic.counts.writes += 1;
    const isApplied = report === null || report.commandOf(COMMIT.name) === 'COMMIT';
    if (isApplied) {
      this.#state = 'ended';
      this.#learn(report, startedAtMs);
    }
    if (report === null) {
      this.#leavesState = true;
      throw durabilityTimeout(monitor.nameOf(node), 'limit', limits.durabilityTimeoutMs);
    }
    if (!isApplied) this.#explain(report);
    if (report.isSyncWaitCancelled) throw durabilityTimeout(monitor.nameOf(node), 'cancelled', 0);
    return report.results as QueryResult[];
  }

  /** Throws what kept COMMIT from taking effect, as far as it did. */
  #explain(report: ExchangeReport): never {
    const { monitor, traffic } = this.#parts.runner.parts;
    const { node } = this.#lease;
    if (report.isBroken) {
      const error = report.error ?? new Error('The connection ended.');
      if (!report.isSent) throw this.#lose(error);
      this.#state = 'ended';
      this.#leavesState = true;
      void monitor.probeNow(node);
      traffic.counts.unknownOutcomes += 1;
      throw commitUnknown(monitor.nameOf(node), error);
    }
    // A statement of the batch that fails leaves the transaction open.
    this.#state = this.#lease.client.getTransactionStatus() === 'I' ? 'ended' : 'open';
    if (report.error !== null) throw report.error;
    throw this.#firstError ?? new Error('PostgreSQL rolled the transaction back.');
  }

  #learn(report: ExchangeReport | null, startedAtMs: number): void {
    const { session, runner } = this.#parts;
    if (session === null) return;
    const token = readLeaderAnswer(report?.answerOf(LEADER_QUESTION.name) ?? null, this.#level === 'off');
    if (token !== null) session.advance(token, startedAtMs);
    else session.advanceBeyondKnowledge(runner.parts.monitor.leadership.timeline, performance.now());
  }

  async rollback(): Promise<void> {
    await this.#sequence.whenIdle();
    if (this.#state !== 'open') return;
    this.#state = 'ended';
    const report = await exchange(this.#lease, { statements: [{ text: 'ROLLBACK' }] });
    if (report.error !== null) this.#leavesState = true;
  }

  release(): void {
    const isUseless = this.#state === 'lost' || this.#leavesState;
    const isOpen = this.#lease.client.getTransactionStatus() !== 'I';
    this.#parts.source.release(this.#lease, isUseless ? (this.#lostThrough ?? true) : undefined, isOpen);
  }

  async #send(statement: StatementConfig): Promise<QueryResult> {
    this.#requireUsable();
    if (this.#state === 'ended') {
      throw new LockstepError(
        'CONFIG_INVALID',
        'The transaction has ended; await every query inside its function.',
      );
    }
    const before = this.#takeOpening();
    const report = await exchange(this.#lease, { statements: [statement], before });
    // What cannot be sent (a value that cannot be converted) has not begun the transaction either.
    if (!report.isSent && !report.isBroken && before.length > 0) this.#giveBack(before);
    this.#requireAnswer(report);
    return report.results[0] as QueryResult;
  }

  #requireAnswer(report: ExchangeReport): void {
    if (report.error !== null && isOwnTimeout(report.error)) {
      this.#state = 'lost';
      throw report.error;
    }
    if (report.isBroken) throw this.#lose(report.error ?? new Error('The connection ended.'));
    if (report.error === null) return;
    if (report.isSent) this.#firstError ??= report.error;
    const hasBegun = this.#lease.client.getTransactionStatus() !== 'I';
    if (!hasBegun && report.isSent) this.#state = 'failed';
    throw report.error;
  }

  #requireUsable(): void {
    if (this.#state === 'lost') throw this.#lostThrough ?? new Error('The transaction was lost.');
    if (this.#state === 'failed') throw this.#firstError ?? new Error('BEGIN failed.');
  }

  #lose(error: Error): Error {
    this.#state = 'lost';
    const { monitor } = this.#parts.runner.parts;
    void monitor.probeNow(this.#lease.node);
    this.#lostThrough = transactionLost(monitor.nameOf(this.#lease.node), error);
    return this.#lostThrough;
  }
}
