import type { QueryResult } from 'pg';
import { isSynchronous, parseDurability } from '../model/durability.ts';
import type { Durability, SynchronousCommit } from '../model/durability.ts';
import { LockstepError } from '../model/errors.ts';
import { codeOf, isSerializationConflict, READ_ONLY_TRANSACTION } from './core/retry.ts';
import { exchangeWithinLimit } from './durability.ts';
import { exchange } from './exchange.ts';
import type { ExchangeReport } from './exchange.ts';
import { commitUnknown, durabilityTimeout, isOwnTimeout, transactionLost } from './failures.ts';
import { LEADER_QUESTION, readLeaderAnswer } from './gate.ts';
import type { LeaseSource } from './node-finder.ts';
import type { Lease } from './node-pools.ts';
import { readStatement } from './queryable.ts';
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
  /** How often the function may run again after a serialization failure or deadlock. Default 5. */
  readonly maxRetries?: number | undefined;
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
 * back as a serialization failure or deadlock. So `fn` should touch nothing but the transaction.
 */
export async function runTransaction<T>(
  parts: TransactionParts,
  fn: (transaction: Transaction) => Promise<T>,
  options: TransactionOptions,
): Promise<T> {
  const { runner, source, session } = parts;
  const level = options.durability === undefined ? null : parseDurability(options.durability);
  const beginSql = renderBegin(options, level);
  const deadlineMs = performance.now() + runner.parts.limits.failoverTimeoutMs;
  let retriesLeft = options.maxRetries ?? DEFAULT_MAX_RETRIES;
  for (;;) {
    const lease = await runner.finder.acquireLeader(source, session, deadlineMs);
    const active = new ActiveTransaction(parts, lease, level);
    try {
      await active.begin(beginSql);
      const value = await fn(active);
      await active.commit();
      return value;
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

function renderBegin(options: TransactionOptions, level: SynchronousCommit | null): string {
  const { isolation, readOnly } = options;
  if (isolation !== undefined && !ISOLATIONS.has(isolation)) {
    const known = [...ISOLATIONS].join(', ');
    throw new LockstepError(
      'CONFIG_INVALID',
      `"${String(isolation)}" is not an isolation; use one of ${known}.`,
    );
  }
  const isolationSql = isolation === undefined ? '' : ` ISOLATION LEVEL ${isolation.toUpperCase()}`;
  const accessSql = readOnly === true ? ' READ ONLY' : '';
  const durabilitySql = level === null ? '' : `; SET LOCAL synchronous_commit TO ${level}`;
  return `BEGIN${isolationSql}${accessSql}${durabilitySql}`;
}

/** One attempt of a transaction, on one connection. */
class ActiveTransaction {
  readonly #parts: TransactionParts;
  readonly #lease: Lease;
  readonly #level: SynchronousCommit | null;
  #state: 'open' | 'ended' | 'lost' = 'open';
  #lostThrough: Error | null = null;
  /** The first error of PostgreSQL's: why COMMIT turns into ROLLBACK when the function swallowed it. */
  #firstError: Error | null = null;
  #leavesState = false;
  #last: Promise<unknown> = Promise.resolve();

  constructor(parts: TransactionParts, lease: Lease, level: SynchronousCommit | null) {
    this.#parts = parts;
    this.#lease = lease;
    this.#level = level;
  }

  /** Whether `error` tells that the connection broke before COMMIT was sent. */
  wasLostThrough(error: unknown): boolean {
    if (this.#lostThrough === null) return false;
    return error === this.#lostThrough || (error instanceof Error && error.cause === this.#lostThrough);
  }

  begin(sql: string): Promise<unknown> {
    return this.#send({ text: sql });
  }

  query(textOrConfig: unknown, values?: unknown): Promise<never> {
    const run = async (): Promise<QueryResult> => {
      const statement = readStatement(textOrConfig, values);
      const { kind } = this.#parts.runner.parts.classifier.classify(statement.text);
      if (kind === 'begin' || kind === 'commit' || kind === 'rollback') {
        throw new LockstepError(
          'CONFIG_INVALID',
          'transaction() begins and commits by itself; throw an error from its function to roll back.',
        );
      }
      if (kind === 'session') this.#leavesState = true;
      return this.#send(statement);
    };
    const next = this.#last.then(run, run);
    this.#last = next.catch(() => undefined);
    // The overloads of Queryable say what the statement's rows are; here they pass through unseen.
    return next as Promise<never>;
  }

  async commit(): Promise<void> {
    await this.#last;
    if (this.#state === 'lost') throw this.#lostThrough ?? new Error('The transaction was lost.');
    const { runner, session } = this.#parts;
    const { monitor, limits, traffic } = runner.parts;
    const { node } = this.#lease;
    this.#state = 'ended';
    const startedAtMs = performance.now();
    const plan = { statement: { text: 'COMMIT' }, question: session === null ? undefined : LEADER_QUESTION };
    const mayWait = this.#level === null || isSynchronous(this.#level);
    const limitMs = mayWait ? limits.durabilityTimeoutMs : 0;
    const report = await exchangeWithinLimit(this.#lease, plan, monitor, limitMs, true);
    traffic.counts.writes += 1;
    const isApplied = report === null || (report.error === null && commandOf(report) === 'COMMIT');
    if (isApplied) this.#learn(report, startedAtMs);
    if (report === null) {
      this.#leavesState = true;
      throw durabilityTimeout(monitor.nameOf(node), 'limit', limits.durabilityTimeoutMs);
    }
    if (report.isSyncWaitCancelled) throw durabilityTimeout(monitor.nameOf(node), 'cancelled', 0);
    this.#requireCommitted(report);
  }

  #requireCommitted(report: ExchangeReport): void {
    const { monitor, traffic } = this.#parts.runner.parts;
    const { node } = this.#lease;
    if (report.isBroken) {
      const error = report.error ?? new Error('The connection ended.');
      if (!report.isSent) throw this.#lose(error);
      this.#leavesState = true;
      void monitor.probeNow(node);
      traffic.counts.unknownOutcomes += 1;
      throw commitUnknown(monitor.nameOf(node), error);
    }
    if (report.error !== null) throw report.error;
    if (commandOf(report) !== 'COMMIT')
      throw this.#firstError ?? new Error('PostgreSQL rolled the transaction back.');
  }

  #learn(report: ExchangeReport | null, startedAtMs: number): void {
    const { session, runner } = this.#parts;
    if (session === null) return;
    const token = readLeaderAnswer(report?.answer ?? null, this.#level === 'off');
    if (token !== null) session.advance(token, startedAtMs);
    else session.advanceBeyondKnowledge(runner.parts.monitor.leadership.timeline, performance.now());
  }

  async rollback(): Promise<void> {
    await this.#last;
    if (this.#state !== 'open') return;
    this.#state = 'ended';
    const report = await exchange(this.#lease.client, { statement: { text: 'ROLLBACK' } });
    if (report.error !== null) this.#leavesState = true;
  }

  release(): void {
    const isUseless = this.#state === 'lost' || this.#leavesState;
    const isOpen = this.#lease.client.getTransactionStatus() !== 'I';
    this.#parts.source.release(this.#lease, isUseless ? (this.#lostThrough ?? true) : undefined, isOpen);
  }

  async #send(statement: Parameters<typeof exchange>[1]['statement']): Promise<QueryResult> {
    if (this.#state === 'lost') throw this.#lostThrough ?? new Error('The transaction was lost.');
    if (this.#state === 'ended') {
      throw new LockstepError(
        'CONFIG_INVALID',
        'The transaction has ended; await every query inside its function.',
      );
    }
    const report = await exchange(this.#lease.client, { statement });
    if (report.error !== null && isOwnTimeout(report.error)) {
      this.#state = 'lost';
      throw report.error;
    }
    if (report.isBroken) throw this.#lose(report.error ?? new Error('The connection ended.'));
    if (report.error !== null) {
      this.#firstError ??= report.error;
      throw report.error;
    }
    return report.result as QueryResult;
  }

  #lose(error: Error): Error {
    this.#state = 'lost';
    const { monitor } = this.#parts.runner.parts;
    void monitor.probeNow(this.#lease.node);
    this.#lostThrough = transactionLost(monitor.nameOf(this.#lease.node), error);
    return this.#lostThrough;
  }
}

function commandOf(report: ExchangeReport): string | null {
  const result = report.result as Partial<QueryResult> | null;
  return result?.command ?? null;
}
