import type { QueryArrayResult, QueryConfig, QueryResult } from 'pg';
import type { SynchronousCommit } from '../../model/durability.ts';
import { LockstepError } from '../../model/errors.ts';
import { codeOf } from '../../model/errors.ts';
import { isSerializationConflict, READ_ONLY_TRANSACTION } from '../statement/core/retry.ts';
import type { OwnStatement } from '../../wire/batch.ts';
import { resolveCommitWait } from '../statement/durability.ts';
import type { CommitWait } from '../statement/durability.ts';
import { keyRefused, refuseMisspelt } from '../statement/queryable.ts';
import type { StatementConfig } from '../statement/queryable.ts';
import { createLocalDurability } from '../session/gate.ts';
import { holdWrite } from '../session/session-state.ts';
import type { SessionState } from '../session/session-state.ts';
import type { Lease } from '../../wire/contract.ts';
import { keepableResult } from './outcome.ts';
import { withCallersFrame } from '../app/failures.ts';
import { refuseUnknownNames } from '../app/unknown-name.ts';
import type { KeyedCall } from './outcome.ts';
import type { Queryable } from '../statement/queryable.ts';
import type { StatementRequest } from '../statement/progress.ts';
import type { StatementRunner } from '../statement/runner.ts';
import { ActiveTransaction, refuseOwnCommitWait, refuseTransactionControl } from './active-transaction.ts';
import type { TransactionContext, TransactionParts } from './active-transaction.ts';

/** How a transaction runs. */
export interface TransactionOptions extends CommitWait {
  /** Default: the server's `default_transaction_isolation`. */
  readonly isolation?: 'read committed' | 'repeatable read' | 'serializable' | undefined;
  readonly readOnly?: boolean | undefined;
  /** With `serializable` and `readOnly`: wait for a snapshot that cannot fail. */
  readonly deferrable?: boolean | undefined;
  /** How often it may run again after a serialization failure or deadlock; `false` is 0. Default 5. */
  readonly retry?: number | boolean | undefined;
  /**
   * Makes the call's effects apply at most once, however often it is called with this key: 1 to 200
   * characters, such as `order-123`. An unknown outcome is settled by asking, also after a failover; a call
   * whose key is applied already resolves to the stored result (see docs/client.md) without running again.
   */
  readonly idempotencyKey?: string | undefined;
}

/** What `transaction()` hands to its function: statements of that transaction, one after another. */
export type Transaction = Queryable<unknown>;

/** Statements of one transaction that are known in advance; `Modes` has the `rowMode` of each. */
export type Batch<Modes extends readonly unknown[] = readonly unknown[]> = readonly [
  ...{ [Index in keyof Modes]: QueryConfig & { rowMode?: Modes[Index] } },
];

/** What a batch answers: one result for each statement, in their order. */
export type BatchResults<Modes extends readonly unknown[]> = {
  -readonly [Index in keyof Modes]: Modes[Index] extends 'array' ? QueryArrayResult : QueryResult;
};

const DEFAULT_MAX_RETRIES = 5;

const ISOLATIONS = new Set(['read committed', 'repeatable read', 'serializable']);

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
  if (options.idempotencyKey !== undefined)
    return runKeyed(parts, fn, options, options.idempotencyKey) as Promise<T>;
  return runAttempts(parts, options, async (active) => {
    const value = await fn(active);
    await withCallersFrame(active.commit());
    return value;
  });
}

/** `fn` runs only behind a claim that was answered, and its result is kept in front of COMMIT. */
async function runKeyed(
  parts: TransactionParts,
  fn: (transaction: Transaction) => Promise<unknown>,
  options: TransactionOptions,
  key: string,
): Promise<unknown> {
  if (options.readOnly === true) {
    throw new LockstepError(
      'CONFIG_INVALID',
      'A read only transaction takes no idempotencyKey: its key could not be written.',
    );
  }
  const { limits, traffic } = parts.runner.parts;
  const call = parts.outcomes.call(key, limits.failoverTimeoutMs);
  await parts.outcomes.trust();
  const attempt = async (active: ActiveTransaction): Promise<unknown> => {
    const claim = call.readClaim(await withCallersFrame(active.claim(call.claimStatements())));
    const value = claim.kind === 'own' ? await fn(active) : claim.value;
    await withCallersFrame(active.commit(claim.kind === 'own' ? call.resultStatements(value) : []));
    return value;
  };
  const value = await runAttempts(parts, options, attempt, call);
  call.finished();
  traffic.counts.resolvedOutcomes += call.lostAnswers;
  return value;
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
  refuseOtherWork(statements);
  if (statements.length === 0) return [];
  if (options.idempotencyKey !== undefined) return runKeyedBatch(parts, statements, options);
  const { classifier } = parts.runner.parts;
  for (const statement of statements) {
    const classification = classifier.classify(statement.text);
    refuseTransactionControl(classification);
    refuseMisspelt(statement);
    refuseOwnCommitWait(statement);
    // It would be left out without a word, and the promise with it.
    if (statement.idempotencyKey !== undefined) throw keyRefused();
    if (classification.isSingle) continue;
    throw new LockstepError(
      'CONFIG_INVALID',
      'A batch takes one statement in each text; split the text at its semicolons.',
    );
  }
  return withCallersFrame(runAttempts(parts, options, (active) => active.runWhole(statements)));
}

function refuseOtherWork(statements: readonly StatementConfig[]): void {
  const isStatement = (one: unknown): boolean =>
    typeof one === 'object' && one !== null && 'text' in one && typeof one.text === 'string';
  if (Array.isArray(statements) && statements.every(isStatement)) return;
  throw new LockstepError(
    'CONFIG_INVALID',
    'Give transaction() a function that runs its statements, as in transaction((tx) => tx.query(…)), or a list of statements, each as { text, values }; nothing was sent.',
  );
}

/** Statements with a key are answered one by one, since what they answer is kept for a repeat. */
async function runKeyedBatch(
  parts: TransactionParts,
  statements: readonly StatementConfig[],
  options: TransactionOptions,
): Promise<QueryResult[]> {
  const results = await runTransaction(
    parts,
    async (transaction) => {
      const answers: QueryResult[] = [];
      for (const statement of statements) answers.push(keepableResult(await transaction.query(statement)));
      return answers;
    },
    options,
  );
  return (results as QueryResult[] | undefined) ?? statements.map(() => keepableResult(null));
}

/** A single statement; with a key as a transaction of its own. */
export function runStatement(
  context: TransactionContext,
  session: SessionState | null,
  access: StatementRequest['access'],
  statement: StatementConfig,
): Promise<QueryResult> {
  const { runner, source } = context;
  if (statement.idempotencyKey === undefined) return runner.run({ statement, access, session }, source);
  return holdWrite(session, runner.pending.hold(runKeyedStatement({ ...context, session }, statement)));
}

async function runKeyedStatement(
  parts: TransactionParts,
  { durability, durabilityTimeoutMs, idempotencyKey, ...statement }: StatementConfig,
): Promise<QueryResult> {
  const result = await runTransaction(
    parts,
    async (transaction) => keepableResult(await transaction.query(statement)),
    { durability, durabilityTimeoutMs, idempotencyKey },
  );
  return (result as QueryResult | undefined) ?? keepableResult(null);
}

async function runAttempts<T>(
  parts: TransactionParts,
  options: TransactionOptions,
  attempt: (active: ActiveTransaction) => Promise<T>,
  call: KeyedCall | null = null,
): Promise<T> {
  const { runner, source, session } = parts;
  const { durabilities, limits, clock } = runner.parts;
  // What other libraries call `isolationLevel` would else be left out, and the transaction promise less.
  refuseUnknownNames('transaction()', options, OPTION_NAMES);
  const commitWait = resolveCommitWait(options, durabilities, limits.durabilityTimeoutMs);
  const opening = planOpening(options, commitWait.level);
  const deadlineMs = clock.nowMs() + limits.failoverTimeoutMs;
  let retriesLeft = retriesOf(options);
  for (;;) {
    let lease: Lease;
    try {
      lease =
        runner.finder.tryAcquireLeader(source, session) ??
        (await runner.finder.acquireLeader(source, session, call?.deadlineMs ?? deadlineMs));
    } catch (error) {
      await settle(call, error);
      continue;
    }
    const active = new ActiveTransaction(parts, lease, commitWait, opening);
    let failure: { readonly error: unknown } | null = null;
    try {
      return await attempt(active);
    } catch (error) {
      await active.rollback();
      const isConflict = isSerializationConflict(codeOf(error));
      const isElsewhere = active.wasLostThrough(error) || (await ledElsewhere(runner, lease, options, error));
      const mayRetry = isConflict
        ? retriesLeft > 0
        : active.hadStalePlan || (isElsewhere && clock.nowMs() < (call?.deadlineMs ?? deadlineMs));
      if (!mayRetry) failure = { error };
      else if (isConflict) retriesLeft -= 1;
    } finally {
      active.release();
    }
    if (failure !== null) await settle(call, failure.error);
    runner.parts.traffic.counts.retried += 1;
  }
}

/** Returns when a call with a key is due for another attempt, over a connection of its own where it needs one. */
async function settle(call: KeyedCall | null, error: unknown): Promise<void> {
  if (call === null) throw error;
  await call.afterFailure(error);
}

const OPTION_NAMES: readonly (keyof TransactionOptions)[] = [
  'durability',
  'durabilityTimeoutMs',
  'isolation',
  'readOnly',
  'deferrable',
  'retry',
  'idempotencyKey',
];

function retriesOf({ retry = true }: TransactionOptions): number {
  if (typeof retry === 'boolean') return retry ? DEFAULT_MAX_RETRIES : 0;
  if (Number.isInteger(retry) && retry >= 0) return retry;
  throw new LockstepError(
    'CONFIG_INVALID',
    `"retry" is ${String(retry)}; expected true, false or a whole number from 0.`,
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
function planOpening(options: TransactionOptions, level: SynchronousCommit | null): readonly OwnStatement[] {
  const { readOnly, deferrable } = options;
  // As PostgreSQL reads it, and other libraries write it.
  const isolation = options.isolation === undefined ? undefined : String(options.isolation).toLowerCase();
  if (isolation !== undefined && !ISOLATIONS.has(isolation)) {
    const known = [...ISOLATIONS].join(', ');
    throw new LockstepError(
      'CONFIG_INVALID',
      `"${String(options.isolation)}" is not an isolation; use one of ${known}.`,
    );
  }
  const isolationSql = isolation === undefined ? '' : ` ISOLATION LEVEL ${isolation.toUpperCase()}`;
  const accessSql = readOnly === true ? ' READ ONLY' : '';
  const deferrableSql = deferrable === true ? ' DEFERRABLE' : '';
  const text = `BEGIN${isolationSql}${accessSql}${deferrableSql}`;
  const begin: OwnStatement = { name: `lockstep_${text}`, text, values: [] };
  return level === null ? [begin] : [begin, createLocalDurability(level)];
}
