import { LockstepError } from '../../model/errors.ts';
import { formatLsn } from '../../model/lsn.ts';
import type { Lsn } from '../../model/lsn.ts';
import type { FlightFailure, FlightResult } from '../../wire/raw/pipeline.ts';
import type { ChangeStream } from '../change-stream.ts';
import type { Change, TransactionPart } from '../core/change.ts';
import type { Catalog } from './catalog.ts';
import { compileExact, compileGrouped } from './core/compile.ts';
import type { ApplyStatement } from './core/compile.ts';
import { roleStatement, withOwners } from './core/owners.ts';
import { Batch, decideFlush } from './core/pending.ts';
import type { FlushRule, PendingTransaction } from './core/pending.ts';
import { explain, isAboutData } from './flight-failure.ts';
import type { Quarantine } from './quarantine.ts';
import { COMMIT } from './session.ts';
import type { ApplySession } from './session.ts';
import { StreamedTables } from './streamed-tables.ts';

const RULE: FlushRule = {
  maxRows: 1_500,
  maxBytes: 1_048_576,
  lingerMs: 3,
  maxInFlight: 64,
  maxInFlightBytes: 16 * 1_048_576,
};
/** Flights of one large transaction that wait for their answer. */
const LARGE_IN_FLIGHT = 6;

/** What an applier counts. */
export interface ApplyCounts {
  transactions: number;
  /** The source's changes. */
  changes: number;
  /** Rows written for them: changes of one row come to one. */
  rows: number;
  batches: number;
  /** Rows that an update or a delete did not find at the target. */
  missingRows: number;
}

export interface ApplierOptions {
  readonly stream: ChangeStream;
  readonly session: ApplySession;
  readonly catalog: Catalog;
  readonly quarantine: Quarantine;
  readonly format: 'binary' | 'text';
  readonly position: Lsn;
  /** By `schema.name`: up to where a table's copy has its changes already. Other tables are unknown. */
  readonly copiedAt: ReadonlyMap<string, Lsn>;
  /** Transactions that are applied change by change, because they failed once in whole. */
  readonly exactXids: Set<number>;
  readonly onMissing: (table: string, count: number) => void;
}

interface FlightOfBatch {
  readonly batch: Batch;
  readonly statements: readonly ApplyStatement[];
  result: FlightResult | null;
}

/** One that is written as it comes. */
interface LargeTransaction {
  readonly results: Promise<FlightResult>[];
  isBroken: FlightFailure | null;
  /** With whose rights it was last written. */
  owner: string | null;
}

/**
 * Writes source transactions to the target in commit order: whole ones, several to one transaction of the target,
 * each moving the follow's position on in the same transaction. Any number may be on their way; when one fails, the
 * server refuses those behind it, and they are sent again.
 */
export class Applier {
  readonly #options: ApplierOptions;
  readonly #tables: StreamedTables;
  readonly counts: ApplyCounts = { transactions: 0, changes: 0, rows: 0, batches: 0, missingRows: 0 };
  #batch = new Batch();
  #batchSinceMs = 0;
  #inFlight: FlightOfBatch[] = [];
  #inFlightBytes = 0;
  /** Up to where flights were sent, and up to where the target has confirmed. */
  #sent: Lsn;
  #applied: Lsn;
  #appliedAtMicros = 0n;
  #wake: (() => void) | null = null;
  #large: LargeTransaction | null = null;
  #isStopping = false;
  /** Waits for the stream: what was taken of it is neither being planned nor gone through with care. */
  #isResting = false;

  constructor(options: ApplierOptions) {
    this.#options = options;
    this.#tables = new StreamedTables(options);
    this.#sent = options.position;
    this.#applied = options.position;
    options.stream.onMore = () => this.#notify();
  }

  /** Everything before is committed at the target, though perhaps not on its disk. */
  get appliedLsn(): Lsn {
    return this.#applied;
  }

  /** Commit time of the newest applied transaction; 0 before the first. */
  get appliedAtMicros(): bigint {
    return this.#appliedAtMicros;
  }

  /** Nothing of the stream is on its way or waits. */
  get isIdle(): boolean {
    return this.#isResting && this.#batch.isEmpty && this.#inFlight.length === 0 && this.#large === null;
  }

  /** Lets what was taken be applied, and then ends {@link run}. */
  stop(): void {
    this.#isStopping = true;
    this.#notify();
  }

  /** Applies until it is stopped. Throws what ended it; everything up to {@link appliedLsn} is then applied. */
  async run(): Promise<void> {
    const { stream } = this.#options;
    for (;;) {
      await this.#settle();
      if (this.#isStopping && this.#large === null) return this.#flushAll();
      // While the target takes no more, nothing more is taken either.
      if (!this.#isBatchFull) for (const part of stream.takeNow()) await this.#accept(part);
      if (!this.#batch.isEmpty && this.#flushDecision() === 'send') {
        await this.#flush();
        continue;
      }
      if (stream.hasMore && !this.#isBatchFull) continue;
      this.#isResting = true;
      await this.#pause();
      this.#isResting = false;
    }
  }

  get #isBatchFull(): boolean {
    return this.#batch.rows >= RULE.maxRows || this.#batch.bytes >= RULE.maxBytes;
  }

  #flushDecision(): 'send' | 'wait' {
    return decideFlush(RULE, {
      rows: this.#batch.rows,
      bytes: this.#batch.bytes,
      ageMs: performance.now() - this.#batchSinceMs,
      inFlight: this.#inFlight.length,
      inFlightBytes: this.#inFlightBytes,
    });
  }

  #notify(): void {
    const wake = this.#wake;
    this.#wake = null;
    wake?.();
  }

  /** Until there is more, or an answer, or the batch has waited long enough. */
  #pause(): Promise<void> {
    return new Promise((resolve) => {
      const timer = this.#batch.isEmpty ? null : setTimeout(() => this.#notify(), RULE.lingerMs);
      this.#wake = () => {
        if (timer !== null) clearTimeout(timer);
        resolve();
      };
    });
  }

  async #accept(part: TransactionPart): Promise<void> {
    // A transaction that was applied before the stream was restarted.
    if (part.commitLsn < this.#applied) return;
    const changes = await this.#tables.changesFor(part);
    if (!part.isFirst || !part.isLast) return this.#acceptLarge(part, changes);
    if (this.#batch.isEmpty) this.#batchSinceMs = performance.now();
    this.#batch.add(part, changes);
    if (this.#isBatchFull && this.#flushDecision() === 'send') await this.#flush();
    // A long queue was taken at once; the target need not have room for all of it.
    while (this.#isBatchFull) {
      await this.#pause();
      await this.#settle();
      if (this.#isBatchFull && this.#flushDecision() === 'send') await this.#flush();
    }
  }

  async #flush(): Promise<void> {
    const batch = this.#batch;
    this.#batch = new Batch();
    await this.#sendBatch(batch);
  }

  /** Sends a batch; what touches a row in quarantine is parted from it first. */
  async #sendBatch(batch: Batch): Promise<void> {
    if (!batch.transactions.some((transaction) => this.#isHeldUp(transaction))) {
      this.#send(batch, withOwners(compileGrouped(batch.changes(), this.#tables.planOf)));
      return;
    }
    await this.#drain();
    await this.#applyCarefully(batch.transactions);
  }

  #isHeldUp({ changes }: PendingTransaction): boolean {
    return this.#options.quarantine.concerns(changes, this.#tables.planOf);
  }

  #send(batch: Batch, statements: readonly ApplyStatement[]): void {
    const last = batch.transactions.at(-1);
    if (last === undefined) return;
    const flight: FlightOfBatch = { batch, statements, result: null };
    this.#inFlight.push(flight);
    this.#inFlightBytes += batch.bytes;
    const sent = this.#options.session.sendTransaction(
      this.#sent,
      last.endLsn,
      last.committedAtMicros,
      statements,
    );
    this.#sent = last.endLsn;
    void sent.then((result) => {
      flight.result = result;
      this.#notify();
    });
  }

  /** Takes the answers that are there, in order. Throws what people or a new connection must mend. */
  async #settle(): Promise<void> {
    for (;;) {
      const [flight] = this.#inFlight;
      if (flight === undefined || flight.result === null) return;
      if ('failure' in flight.result) {
        await this.#recover(flight.result.failure);
        continue;
      }
      this.#inFlight.shift();
      this.#inFlightBytes -= flight.batch.bytes;
      this.#confirm(flight.batch.transactions, flight.statements, flight.result);
    }
  }

  #confirm(
    transactions: readonly PendingTransaction[],
    statements: readonly ApplyStatement[],
    result: { readonly results: readonly { readonly rowCount: number }[] },
  ): void {
    const last = transactions.at(-1);
    if (last === undefined) return;
    this.#applied = last.endLsn;
    this.#appliedAtMicros = last.committedAtMicros;
    this.counts.transactions += transactions.length;
    for (const { changes } of transactions) this.counts.changes += changes.length;
    this.counts.batches += 1;
    // Before them stand those that begin the transaction, behind them its COMMIT.
    this.#countRows(statements, result.results.slice(result.results.length - 1 - statements.length));
  }

  #countRows(statements: readonly ApplyStatement[], results: readonly { readonly rowCount: number }[]): void {
    for (const [index, { kind, rows, table }] of statements.entries()) {
      this.counts.rows += rows;
      const found = results[index]?.rowCount ?? rows;
      if (kind === 'truncate' || kind === 'insert' || kind === 'role' || found >= rows) continue;
      this.counts.missingRows += rows - found;
      this.#options.onMissing(table, rows - found);
    }
  }

  /** All that is on its way and waits has been applied when this resolves. */
  async #flushAll(): Promise<void> {
    if (!this.#batch.isEmpty) await this.#flush();
    await this.#drain();
  }

  /** All that is on its way has been applied when this resolves. */
  async #drain(): Promise<void> {
    while (this.#inFlight.length > 0) {
      await this.#settle();
      if (this.#inFlight.length > 0) await this.#pause();
    }
  }

  /** One batch failed, and so did all behind it. Those before it are applied. */
  async #recover(failure: FlightFailure): Promise<void> {
    if (!isAboutData(failure)) throw explain(failure.error);
    const failed = this.#inFlight;
    while (failed.some(({ result }) => result === null)) await this.#pause();
    this.#inFlight = [];
    this.#inFlightBytes = 0;
    this.#sent = this.#applied;
    await this.#options.session.rollback();
    const [first, ...rest] = failed.map(({ batch }) => batch);
    if (first !== undefined) await this.#applyCarefully(first.transactions);
    for (const batch of rest) await this.#sendBatch(batch);
  }

  /** Change by change, in halves where that fails too, until the one transaction that fails is alone. */
  async #applyCarefully(transactions: readonly PendingTransaction[]): Promise<void> {
    const last = transactions.at(-1);
    const [first] = transactions;
    if (last === undefined || first === undefined) return;
    const { session } = this.#options;
    if (transactions.some((transaction) => this.#isHeldUp(transaction))) {
      if (transactions.length === 1) return this.#setAside(first, null);
      return this.#applyHalves(transactions);
    }
    const changes = transactions.flatMap((transaction) => transaction.changes);
    const statements = withOwners(compileExact(changes, this.#tables.planOf));
    const result = await session.sendTransaction(this.#sent, last.endLsn, last.committedAtMicros, statements);
    if (!('failure' in result)) {
      this.#sent = last.endLsn;
      this.#confirm(transactions, statements, result);
      return;
    }
    if (!isAboutData(result.failure)) throw explain(result.failure.error);
    await session.rollback();
    if (transactions.length === 1) return this.#setAside(last, result.failure.error);
    await this.#applyHalves(transactions);
  }

  async #applyHalves(transactions: readonly PendingTransaction[]): Promise<void> {
    const middle = Math.floor(transactions.length / 2);
    await this.#applyCarefully(transactions.slice(0, middle));
    await this.#applyCarefully(transactions.slice(middle));
  }

  /** Keeps a transaction for people to decide on, and goes on behind it. Null: it depends on one that is kept. */
  async #setAside(transaction: PendingTransaction, error: Error | null): Promise<void> {
    const { session, quarantine, format } = this.#options;
    const { endLsn, committedAtMicros } = transaction;
    const statement = quarantine.statement(transaction, error, format, this.#tables.planOf);
    const result = await session.sendTransaction(this.#sent, endLsn, committedAtMicros, [statement]);
    if ('failure' in result) throw explain(result.failure.error);
    quarantine.add(transaction, this.#tables.planOf);
    this.#sent = endLsn;
    this.#applied = endLsn;
    this.#appliedAtMicros = committedAtMicros;
  }

  /** A large transaction is written as it comes, in one transaction of the target. */
  async #acceptLarge(part: TransactionPart, changes: readonly Change[]): Promise<void> {
    const { session, exactXids } = this.#options;
    const compile = exactXids.has(part.xid) ? compileExact : compileGrouped;
    if (part.isFirst) {
      await this.#flushAll();
      this.#large = { results: [], isBroken: null, owner: null };
    }
    const large = this.#large;
    if (large === null)
      throw new LockstepError('INVARIANT', 'A part of a transaction came without its first.');
    const statements = withOwners(compile(changes, this.#tables.planOf), large.owner);
    const last = statements.at(-1);
    if (last !== undefined) large.owner = last.owner;
    const { commitLsn, committedAtMicros } = part;
    this.counts.changes += changes.length;
    const opening = part.isFirst ? session.begin(this.#sent, this.#sent, committedAtMicros) : [];
    const moveOn = session.progress(this.#sent, part.endLsn, committedAtMicros);
    const asSelf =
      large.owner === null ? [moveOn] : [roleStatement(null), moveOn, roleStatement(large.owner)];
    const closing = part.isLast ? [...asSelf, COMMIT] : [];
    const flight = session.send([...opening, ...statements, ...closing]);
    large.results.push(
      flight.then((result) => {
        if ('failure' in result) large.isBroken ??= result.failure;
        else this.#countRows(statements, result.results.slice(opening.length));
        return result;
      }),
    );
    while (large.results.length > (part.isLast ? 0 : LARGE_IN_FLIGHT)) await large.results.shift();
    if (large.isBroken !== null) {
      if (isAboutData(large.isBroken)) exactXids.add(part.xid);
      throw explain(large.isBroken.error, `the transaction that committed at ${formatLsn(commitLsn)}`);
    }
    if (!part.isLast) return;
    this.#large = null;
    this.#sent = part.endLsn;
    this.#applied = part.endLsn;
    this.#appliedAtMicros = committedAtMicros;
    this.counts.transactions += 1;
    this.counts.batches += 1;
  }

  /** Moves the follow on where nothing of the stream concerns it; only while {@link isIdle}. */
  async skipTo(lsn: Lsn): Promise<void> {
    const { session } = this.#options;
    if (!this.isIdle || lsn <= this.#applied) return;
    const from = this.#sent;
    this.#sent = lsn;
    const flight: FlightOfBatch = { batch: new Batch(), statements: [], result: null };
    this.#inFlight.push(flight);
    flight.result = await session.sendTransaction(from, lsn, this.#appliedAtMicros, []);
    if (!('failure' in flight.result)) this.#applied = lsn;
    this.#notify();
  }
}
