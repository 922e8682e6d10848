import type { QueryResult } from 'pg';
import { isSynchronous } from '../../model/durability.ts';
import { LockstepError } from '../../model/errors.ts';
import { exchangeWithinLimit } from '../statement/durability.ts';
import type { CommitWait, ResolvedCommitWait } from '../statement/durability.ts';
import type { OwnStatement } from '../../wire/batch.ts';
import type { Classification } from '../classify/core/classify.ts';
import { exchange } from '../../wire/exchange.ts';
import type { ExchangePlan, ExchangeReport } from '../../wire/contract.ts';
import type { StatementConfig } from '../statement/queryable.ts';
import { isAppsOwn, transactionLost, withCallersFrame } from '../app/failures.ts';
import { LEADER_QUESTION, readLeaderAnswer } from '../session/gate.ts';
import type { LeaseSource } from '../cluster/lease-source.ts';
import type { Lease } from '../../wire/contract.ts';
import { CLAIM } from './outcome.ts';
import type { OutcomeTable } from './outcome.ts';
import { keyRefused, readStatement } from '../statement/queryable.ts';
import { codeOf } from '../../model/errors.ts';
import { UNKNOWN_NAME } from '../../wire/prepared.ts';
import { Sequence } from '../../model/sequence.ts';
import type { StatementRunner } from '../statement/runner.ts';
import { learnFromEffect, lostAnswer, refuseUnconfirmed } from '../session/commit-epilogue.ts';
import { asksLeader, learnFromRefusal } from '../session/leader-answers.ts';
import type { SessionState } from '../session/session-state.ts';

/** What all transactions of a pool work with. */
export interface TransactionContext {
  readonly runner: StatementRunner;
  readonly source: LeaseSource;
  readonly outcomes: OutcomeTable;
}

/** What one works with. */
export interface TransactionParts extends TransactionContext {
  readonly session: SessionState | null;
}

const COMMIT: OwnStatement = { name: 'lockstep_commit', text: 'COMMIT', values: [] };

function isReading({ kind }: Classification): boolean {
  return kind === 'read' || kind === 'leader-read';
}

/** One attempt of a transaction, on one connection. */
export class ActiveTransaction {
  readonly #parts: TransactionParts;
  readonly #lease: Lease;
  readonly #commitWait: ResolvedCommitWait;
  /** What the first statement carries in front; then nothing. */
  #opening: readonly OwnStatement[];
  #state: 'unopened' | 'open' | 'ended' | 'failed' | 'lost' = 'unopened';
  #lostThrough: Error | null = null;
  /** The first error of PostgreSQL's: why COMMIT turns into ROLLBACK when the function swallowed it. */
  #firstError: Error | null = null;
  #leavesState = false;
  /** Whether it failed for what was prepared earlier, so that it may run again with new names. */
  hadStalePlan = false;
  #mayHaveWritten = false;
  readonly #sequence: Sequence = new Sequence();

  constructor(
    parts: TransactionParts,
    lease: Lease,
    commitWait: ResolvedCommitWait,
    opening: readonly OwnStatement[],
  ) {
    this.#parts = parts;
    this.#lease = lease;
    this.#commitWait = commitWait;
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
    return withCallersFrame(this.#sequence.run(run)) as Promise<never>;
  }

  async #run(textOrConfig: unknown, values: unknown): Promise<QueryResult> {
    const statement = readStatement(textOrConfig, values);
    if (statement.idempotencyKey !== undefined) throw keyRefused();
    refuseOwnCommitWait(statement);
    const classification = this.#parts.runner.parts.classifier.classify(statement.text);
    refuseTransactionControl(classification);
    if (classification.kind === 'session') this.#leavesState = true;
    if (!isReading(classification)) this.#mayHaveWritten = true;
    if (this.#state === 'unopened' && !classification.isSingle) await this.#open();
    return this.#send(statement);
  }

  /** For several statements in one text, which BEGIN cannot travel with. */
  async #open(): Promise<void> {
    const report = await this.#exchange({ statements: [], before: this.#takeOpening() });
    this.#requireAnswer(report);
  }

  #takeOpening(): readonly OwnStatement[] {
    const opening = this.#opening;
    this.#opening = [];
    if (this.#state === 'unopened') this.#state = 'open';
    return opening;
  }

  #giveBack(opening: readonly OwnStatement[]): void {
    this.#opening = opening;
    this.#state = 'unopened';
  }

  /** BEGIN and the claim of a key in one flight. Returns the claim's row. */
  async claim(own: readonly OwnStatement[]): Promise<readonly (string | null)[] | null> {
    const report = await this.#exchange({
      statements: [],
      before: [...this.#takeOpening(), ...own],
    });
    this.#requireAnswer(report);
    return report.answerOf(CLAIM);
  }

  /** What is in `own` goes in front of COMMIT, in the same flight. */
  async commit(own: readonly OwnStatement[] = []): Promise<void> {
    await this.#sequence.whenIdle();
    this.#requireUsable();
    const isEmpty = this.#state === 'unopened';
    this.#state = 'ended';
    if (isEmpty) return;
    await this.#commitWith([], own);
  }

  /** BEGIN, all statements and COMMIT in one flight. */
  async runWhole(statements: readonly StatementConfig[]): Promise<QueryResult[]> {
    const { classifier } = this.#parts.runner.parts;
    this.#mayHaveWritten = statements.some(({ text }) => !isReading(classifier.classify(text)));
    this.#leavesState = statements.some(({ text }) => classifier.classify(text).kind === 'session');
    return this.#commitWith(statements);
  }

  async #commitWith(
    statements: readonly StatementConfig[],
    own: readonly OwnStatement[] = [],
  ): Promise<QueryResult[]> {
    const { runner, session } = this.#parts;
    const { monitor, traffic, clock } = runner.parts;
    const { level, limitMs } = this.#commitWait;
    const { node } = this.#lease;
    const startedAtMs = clock.nowMs();
    const before = this.#takeOpening();
    const asks = asksLeader(session, monitor, this.#mayHaveWritten);
    const after = asks ? [...own, COMMIT, LEADER_QUESTION] : [...own, COMMIT];
    const mayWait = level === null || isSynchronous(level);
    const report = await exchangeWithinLimit(
      this.#lease,
      {
        statements,
        before,
        after,
        preparedAs: this.#prepare(statements),
        observer: this.#parts.session?.observer,
      },
      { monitor, limitMs: mayWait ? limitMs : 0, isCommit: statements.length === 0 },
    );
    if (report?.hasStalePlan === true) this.#renew(statements, report.error);
    traffic.counts.writes += 1;
    const isApplied = report === null || report.commandOf(COMMIT.name) === 'COMMIT';
    if (isApplied) {
      this.#state = 'ended';
      if (asks || this.#mayHaveWritten) this.#learn(report, startedAtMs);
    }
    if (report === null) this.#leavesState = true;
    else if (!isApplied) this.#explain(report);
    refuseUnconfirmed(monitor, node, report, limitMs);
    return report.results as QueryResult[];
  }

  /** Throws what kept COMMIT from taking effect, as far as it did. */
  #explain(report: ExchangeReport): never {
    const { node } = this.#lease;
    if (report.isBroken) {
      const error = report.error ?? new Error('The connection ended.');
      if (!report.isSent) throw this.#lose(error);
      this.#state = 'ended';
      this.#leavesState = true;
      throw lostAnswer(this.#parts.runner.parts, node, error);
    }
    // A statement of the batch that fails leaves the transaction open.
    this.#state = this.#lease.client.getTransactionStatus() === 'I' ? 'ended' : 'open';
    if (report.error !== null) throw report.error;
    throw this.#firstError ?? new Error('PostgreSQL rolled the transaction back.');
  }

  #learn(report: ExchangeReport | null, startedAtMs: number): void {
    const { session, runner } = this.#parts;
    if (session === null) return;
    const { level } = this.#commitWait;
    const isWrite = this.#mayHaveWritten;
    learnFromEffect(session, runner.parts.monitor, report, { level, isWrite, startedAtMs });
  }

  #prepare(statements: readonly StatementConfig[]): readonly (string | undefined)[] | undefined {
    const { prepared, classifier } = this.#parts.runner.parts;
    const names = statements.map((statement) =>
      prepared.nameFor(statement, classifier.classify(statement.text)),
    );
    return names.some((name) => name !== undefined) ? names : undefined;
  }

  #renew(statements: readonly StatementConfig[], error: Error | null): void {
    this.hadStalePlan = true;
    const isNameUnknown = codeOf(error) === UNKNOWN_NAME;
    for (const { text, name } of statements)
      if (name === undefined) this.#parts.runner.parts.prepared.renew(text, isNameUnknown);
  }

  async rollback(): Promise<void> {
    await this.#sequence.whenIdle();
    if (this.#state !== 'open') return;
    this.#state = 'ended';
    const { session, runner } = this.#parts;
    const { monitor, clock } = runner.parts;
    const asks = asksLeader(session, monitor, true);
    const question = asks ? LEADER_QUESTION : undefined;
    const startedAtMs = clock.nowMs();
    const report = await this.#exchange({ statements: [{ text: 'ROLLBACK' }], question });
    if (report.error !== null) this.#leavesState = true;
    // What it failed of, such as a row that is there already, must be shown afterwards.
    const position = asks ? readLeaderAnswer(report.answerOf(LEADER_QUESTION.name), null) : null;
    if (session !== null) learnFromRefusal(session, monitor, position, startedAtMs);
  }

  release(): void {
    const isUseless = this.#state === 'lost' || this.#leavesState;
    const isOpen = this.#lease.client.getTransactionStatus() !== 'I';
    this.#parts.source.release(this.#lease, isUseless ? (this.#lostThrough ?? true) : undefined, isOpen);
  }

  #exchange(plan: ExchangePlan): Promise<ExchangeReport> {
    return exchange(this.#lease, { ...plan, observer: this.#parts.session?.observer });
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
    const preparedAs = this.#prepare([statement]);
    const report = await this.#exchange({ statements: [statement], before, preparedAs });
    if (report.hasStalePlan) this.#renew([statement], report.error);
    // What cannot be sent (a value that cannot be converted) has not begun the transaction either.
    if (!report.isSent && !report.isBroken && before.length > 0) this.#giveBack(before);
    this.#requireAnswer(report);
    return report.results[0] as QueryResult;
  }

  #requireAnswer(report: ExchangeReport): void {
    if (report.error !== null && isAppsOwn(report.error)) {
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

/** Throws CONFIG_INVALID for a statement that says what its commit waits for: it commits with the others. */
export function refuseOwnCommitWait({ durability, durabilityTimeoutMs }: CommitWait): void {
  if (durability === undefined && durabilityTimeoutMs === undefined) return;
  throw new LockstepError(
    'CONFIG_INVALID',
    'A transaction commits as a whole, so pass its durability to transaction() and not to a statement in it.',
  );
}

/** Throws CONFIG_INVALID for what would begin or end the transaction. */
export function refuseTransactionControl({ kind }: Classification): void {
  if (kind !== 'begin' && kind !== 'commit' && kind !== 'rollback') return;
  throw new LockstepError(
    'CONFIG_INVALID',
    'transaction() begins and commits by itself; throw an error from its function to roll back.',
  );
}
