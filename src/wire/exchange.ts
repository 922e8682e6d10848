import type { ExchangePlan, ExchangeReport, WireStatement } from './contract.ts';
import pg from 'pg';
import { sendBatch } from './batch.ts';
import { codeOf } from '../model/errors.ts';
import type {
  PreparedQuery,
  QueryInternals,
  OwnStatement,
  RowMessage,
  Step,
  WireConnection,
} from './batch.ts';
import type { Lease } from './contract.ts';
import { isStalePlan, makeRoomToPrepare, noticeDeallocation, prepareAnew, UNKNOWN_NAME } from './prepared.ts';
import { PlainStatement } from './plain-statement.ts';

/** The same statement, prepared for this one time. */
export function withoutName(statement: WireStatement): WireStatement {
  return statement.name === undefined ? statement : { ...statement, name: undefined };
}

/** Sends what the plan holds, and resolves when the connection is ready again or broken. */
export function exchange(lease: Lease, plan: ExchangePlan): Promise<ExchangeReport> {
  return new Promise((resolve) => startExchange(lease, plan, resolve));
}

/** {@link exchange} for the hot path: `finish` is called once. */
export function startExchange(
  lease: Lease,
  plan: ExchangePlan,
  finish: (report: ExchangeReport) => void,
): void {
  lease.isSyncWaitCancelled = false;
  lease.client.query(new Exchange(lease, plan, finish) as unknown as pg.Submittable);
}

const NO_OWN_STATEMENTS: readonly OwnStatement[] = [];
const LOST = 'Connection terminated unexpectedly';
/** A server that stops, or somebody who ends the connection. */
const SHUTDOWN = '57P01';

/**
 * A Submittable that sends everything of a plan in one flight. pg reports an error before the connection is
 * ready again; an exchange ends only when it is, so that the transaction status read afterwards is the
 * statement's own. It is its own report.
 */
class Exchange implements ExchangeReport {
  readonly query_timeout: number | undefined;
  /** Set by pg's Client when a query timeout runs; calling it ends the timeout. */
  callback: ((error: Error | null) => void) | undefined = undefined;
  error: Error | null = null;
  isSent = false;
  isBroken = false;
  hasStalePlan = false;
  /** Whether any of the statements was answered as done. */
  #isAnyDone = false;
  readonly #lease: Lease;
  readonly #plan: ExchangePlan;
  readonly #steps: readonly Step[];
  readonly #queries: QueryInternals[];
  readonly #finish: (report: ExchangeReport) => void;
  #connection: WireConnection | null = null;
  #at = 0;
  #failedAt = 0;
  #phase: 'batch' | 'question' | 'done' = 'batch';
  /** Own statements' last rows and commands, by their step; the question's at the end. */
  #rows: RowMessage['fields'][] | null = null;
  #commands: string[] | null = null;
  #isAwaitingReady = false;
  /** Names that were prepared before this exchange. */
  #reused: string[] | null = null;
  readonly #startedAtMs: number;

  constructor(lease: Lease, plan: ExchangePlan, finish: (report: ExchangeReport) => void) {
    this.#lease = lease;
    this.#plan = plan;
    this.#finish = finish;
    const isObserved = lease.observer !== null || plan.observer !== undefined;
    this.#startedAtMs = isObserved ? lease.clock.nowMs() : 0;
    const { statements, before = NO_OWN_STATEMENTS, after = NO_OWN_STATEMENTS } = plan;
    const isBatch = before.length > 0 || after.length > 0 || statements.length > 1;
    this.#queries = statements.map((statement, index) => this.#createQuery(statement, index));
    this.#steps = isBatch ? [...before, ...this.#queries, ...after] : this.#queries;
    // A batch is not read in portions.
    if (isBatch) for (const query of this.#queries) query.rows = undefined;
    this.query_timeout = statements[0]?.query_timeout;
  }

  #createQuery(statement: WireStatement, index: number): QueryInternals {
    const query = (statement instanceof PlainStatement
      ? new pg.Query(statement.text, statement.values)
      : new pg.Query(statement)) as unknown as QueryInternals;
    query.name ??= this.#plan.preparedAs?.[index];
    const { _types, binary } = this.#lease.client as unknown as { _types: unknown; binary: boolean };
    query._result._types ??= _types;
    if (binary) query.binary = true;
    query.callback = (error): void => {
      if (error !== null) this.#fail(error, this.#at);
    };
    return query;
  }

  /** pg's Client records the parsed statement under this name: the one whose turn it is. */
  get name(): string | undefined {
    return this.#phase === 'batch' ? this.#steps[this.#at]?.name : undefined;
  }

  get text(): string | undefined {
    return this.#phase === 'batch' ? this.#steps[this.#at]?.text : undefined;
  }

  get failedIn(): 'before' | 'statement' | 'after' {
    const first = this.#plan.before?.length ?? 0;
    if (this.error === null) return 'statement';
    if (this.#failedAt < first) return 'before';
    return this.#failedAt < first + this.#queries.length ? 'statement' : 'after';
  }

  get isSyncWaitCancelled(): boolean {
    return this.#lease.isSyncWaitCancelled;
  }

  get isCutOffBefore(): boolean {
    const isExtended = this.#steps !== this.#queries || this.#queries[0]?.requiresPreparation() === true;
    const isCutOff = this.isBroken && this.error instanceof pg.DatabaseError && this.error.code === SHUTDOWN;
    return isCutOff && isExtended && !this.#isAnyDone;
  }

  get results(): readonly unknown[] {
    return this.#queries.map((query) => query._results);
  }

  answerOf(name: string): RowMessage['fields'] | null {
    return this.#rows?.[this.#indexOf(name)] ?? null;
  }

  commandOf(name: string): string | null {
    return this.#commands?.[this.#indexOf(name)] ?? null;
  }

  #indexOf(name: string): number {
    const { length } = this.#steps;
    if (this.#plan.question?.name === name) return length;
    for (let index = 0; index < length; index += 1) if (this.#steps[index]?.name === name) return index;
    return -1;
  }

  submit(connection: WireConnection): Error | null {
    if (!connection.stream.writable) return new Error(LOST);
    this.#connection = connection;
    for (const { name } of this.#queries) {
      if (name !== undefined && makeRoomToPrepare(this.#lease, connection, name))
        (this.#reused ??= []).push(name);
    }
    const { question } = this.#plan;
    const [only] = this.#queries;
    const isPlain = this.#steps === this.#queries;
    if (isPlain && question === undefined) {
      const refusal = only?.submit(connection) ?? null;
      if (refusal === null) this.isSent = true;
      else this.#fail(refusal, 0);
      return refusal;
    }
    connection.stream.cork();
    try {
      const refusal = isPlain ? (only?.submit(connection) ?? null) : sendBatch(connection, this.#steps);
      if (refusal !== null) {
        this.#fail(refusal, this.#at);
        return refusal;
      }
      this.isSent = true;
      if (question !== undefined) sendBatch(connection, [question]);
      return null;
    } finally {
      connection.stream.uncork();
    }
  }

  handleRowDescription(message: unknown): void {
    const step = this.#steps[this.#at];
    if (step !== undefined && 'callback' in step) step.handleRowDescription(message);
  }

  handleDataRow(message: RowMessage): void {
    const step = this.#steps[this.#at];
    if (step === undefined) return;
    if ('callback' in step) step.handleDataRow(message);
    else (this.#rows ??= [])[this.#at] = message.fields;
  }

  keepAnswer(message: RowMessage): void {
    (this.#rows ??= [])[this.#steps.length] = message.fields;
  }

  handleCommandComplete(message: { text: string }, connection: WireConnection): void {
    const step = this.#steps[this.#at];
    if (step === undefined) return;
    noticeDeallocation(this.#lease, connection, message.text);
    if ('callback' in step) {
      this.#isAnyDone = true;
      step.handleCommandComplete(message, connection);
    } else (this.#commands ??= [])[this.#at] = message.text;
    this.#advance();
  }

  handleEmptyQuery(connection: WireConnection): void {
    const step = this.#steps[this.#at];
    if (step !== undefined && 'callback' in step) step.handleEmptyQuery(connection);
    this.#advance();
  }

  /** A plain statement may hold several, which all answer to the one query. */
  #advance(): void {
    if (this.#steps !== this.#queries) this.#at += 1;
  }

  handlePortalSuspended(connection: WireConnection): void {
    (this.#steps[this.#at] as QueryInternals).handlePortalSuspended(connection);
  }

  handleCopyInResponse(connection: WireConnection): void {
    (this.#steps[this.#at] as QueryInternals).handleCopyInResponse(connection);
  }

  handleCopyData(): void {}

  handleError(error: Error): void {
    if (this.#phase === 'batch') {
      this.#fail(error, this.#at);
      this.#forgetSkipped();
      if (error === this.error) this.hasStalePlan = this.#noticeStalePlan(error, this.#steps[this.#at]);
    }
    // After an error of the server's own, the connection becomes ready again, or ends.
    if (error instanceof pg.DatabaseError && this.#connection !== null) return this.#awaitReady();
    const isRefusedUnsent =
      !this.isSent && error === this.error && this.#connection?.stream.writable === true;
    this.#end(!isRefusedUnsent);
  }

  /** pg's Client forgets a query at its error, so what follows is read off the connection. */
  #awaitReady(): void {
    if (this.#isAwaitingReady || this.#phase === 'done') return;
    this.#isAwaitingReady = true;
    // Not by `once`: cursors that wait so are let go as if the server were ready when the connection ends.
    this.#connection?.on('readyForQuery', this.#onReady);
    this.#connection?.once('end', this.#onEnd);
  }

  handleReadyForQuery(connection: WireConnection): void {
    for (const query of this.#queries) {
      if (this.error !== null) break;
      query.handleReadyForQuery(connection);
    }
    this.#proceed();
  }

  readonly #onReady = (): void => {
    this.#connection?.removeListener('readyForQuery', this.#onReady);
    this.#connection?.removeListener('end', this.#onEnd);
    this.#isAwaitingReady = false;
    this.#proceed();
  };

  readonly #onEnd = (): void => {
    this.#connection?.removeListener('readyForQuery', this.#onReady);
    this.#end(true);
  };

  #proceed(): void {
    const { question } = this.#plan;
    if (this.#phase === 'question' || question === undefined || !this.isSent) return this.#end(false);
    this.#phase = 'question';
    // The question is on its way already: this only makes the Client hand its answer to this exchange.
    this.#lease.client.query(new Continuation(this, question) as unknown as pg.Submittable);
  }

  #fail(error: Error, at: number): void {
    if (this.error !== null) return;
    this.error = error;
    this.#failedAt = at;
  }

  /** The server skipped the Parse of what stood behind the failure, so it must be parsed again next time. */
  #forgetSkipped(): void {
    const connection = this.#connection;
    if (connection === null || this.#steps === this.#queries) return;
    for (const { name } of this.#steps.slice(this.#at)) {
      if (name !== undefined && connection.parsedStatements[name] === undefined)
        delete connection.submittedNamedStatements[name];
    }
  }

  #noticeStalePlan(error: Error, step: Step | PreparedQuery | undefined): boolean {
    if (step?.name === undefined || this.#connection === null) return false;
    const isStale =
      'callback' in step
        ? this.#reused?.includes(step.name) === true && isStalePlan(error)
        : codeOf(error) === UNKNOWN_NAME;
    if (isStale) prepareAnew(this.#connection, step.name);
    return isStale;
  }

  /** Called when the question was answered, or failed: `error` null or the server's own, else it broke. */
  endQuestion(error: Error | null): void {
    if (error === null) this.#end(false);
    else if (error instanceof pg.DatabaseError) {
      this.#noticeStalePlan(error, this.#plan.question);
      this.#awaitReady();
    } else this.#end(true);
  }

  #end(isBroken: boolean): void {
    if (this.#phase === 'done') return;
    this.#phase = 'done';
    this.isBroken = isBroken;
    this.callback?.(null);
    const { observer, node, clock } = this.#lease;
    for (const each of [observer, this.#plan.observer])
      each?.exchanged(node, this.#plan, this, clock.nowMs() - this.#startedAtMs);
    this.#finish(this);
  }
}

/** Takes the place of a query on pg's Client for an answer that was asked for earlier. */
class Continuation {
  callback: ((error: Error | null) => void) | undefined = undefined;
  readonly name: string;
  readonly text: string;
  readonly #exchange: Exchange;

  constructor(owner: Exchange, question: PreparedQuery) {
    this.#exchange = owner;
    this.name = question.name;
    this.text = question.text;
  }

  submit(): null {
    return null;
  }

  handleRowDescription(): void {}

  handleDataRow(message: RowMessage): void {
    this.#exchange.keepAnswer(message);
  }

  handleCommandComplete(): void {}

  handleError(error: Error): void {
    this.callback?.(null);
    this.#exchange.endQuestion(error);
  }

  handleReadyForQuery(): void {
    this.callback?.(null);
    this.#exchange.endQuestion(null);
  }
}
