import pg from 'pg';

/**
 * The part of pg's Connection that a Submittable may use. pg-cursor and pg-query-stream stand on the same
 * calls. Source: node-postgres, "Submittable", and PostgreSQL documentation, "Extended Query".
 */
interface WireConnection extends NodeJS.EventEmitter {
  readonly stream: { cork(): void; uncork(): void; readonly writable: boolean };
  readonly parsedStatements: Record<string, string | undefined>;
  readonly submittedNamedStatements: Record<string, string | undefined>;
  query(text: string): void;
  parse(statement: { name: string; text: string }): void;
  bind(binding: { statement: string; values: readonly string[] }): void;
  execute(portal: { portal: string }): void;
  sync(): void;
}

interface RowMessage {
  readonly fields: readonly (string | null)[];
}

interface NoticeMessage {
  readonly code?: string | undefined;
  readonly routine?: string | undefined;
}

/** The calls by which pg's Client hands the server's messages to a query. */
interface QueryInternals {
  callback: ((error: Error | null, result?: unknown) => void) | undefined;
  readonly _result: unknown;
  submit(connection: WireConnection): Error | null;
  handleRowDescription(message: unknown): void;
  handleDataRow(message: unknown): void;
  handleCommandComplete(message: unknown, connection: WireConnection): void;
  handleEmptyQuery(connection: WireConnection): void;
  handlePortalSuspended(connection: WireConnection): void;
  handleCopyInResponse(connection: WireConnection): void;
  handleReadyForQuery(connection: WireConnection): void;
}

/** What an app passes to `query` as a config, with what pg accepts beyond its types. */
export interface StatementConfig extends pg.QueryConfig<unknown[]> {
  readonly rowMode?: 'array' | undefined;
  readonly query_timeout?: number | undefined;
}

/** A statement whose rows nobody needs, parsed once per connection. */
export interface Prelude {
  readonly name: string;
  readonly text: string;
  readonly values: readonly string[];
}

export interface ExchangePlan {
  readonly statement: StatementConfig;
  /**
   * Runs before the statement in the same message batch and the same implicit transaction, with one Sync for
   * both: when it fails, the server skips the statement.
   */
  readonly prelude?: Prelude | undefined;
  /** SQL that runs after the statement's transaction has ended, sent in the same flight. */
  readonly question?: string | undefined;
}

/** What came of an exchange. It never rejects: `error` says what failed, and where. */
export interface ExchangeReport {
  readonly error: Error | null;
  /** Which part failed; `statement` also when nothing did. */
  readonly failedIn: 'prelude' | 'statement';
  /** Whether the statement was handed to the network. */
  readonly isSent: boolean;
  /** Whether the connection ended, or is of no further use, before the answer was whole. */
  readonly isBroken: boolean;
  readonly result: unknown;
  /** The question's row; null when it was not asked, or failed. */
  readonly answer: readonly (string | null)[] | null;
  /** Whether the server gave up waiting for a follower: the commit is applied on the leader only. */
  readonly isSyncWaitCancelled: boolean;
}

/** Sends one statement with what rides along, and waits until the connection is ready again. */
export function exchange(client: pg.ClientBase, plan: ExchangePlan): Promise<ExchangeReport> {
  return new Promise((resolve) => {
    client.query(new Exchange(client, plan, resolve) as unknown as pg.Submittable);
  });
}

/**
 * A Submittable that sends prelude, statement and question in one flight. pg reports an error before the
 * connection is ready again; an exchange ends only when it is, so that the transaction status read
 * afterwards is the statement's own.
 */
class Exchange {
  readonly query_timeout: number | undefined;
  /** Set by pg's Client when a query timeout runs; calling it ends the timeout. */
  callback: ((error: Error | null) => void) | undefined = undefined;
  readonly #client: pg.ClientBase;
  readonly #plan: ExchangePlan;
  readonly #query: QueryInternals;
  readonly #finish: (report: ExchangeReport) => void;
  #connection: WireConnection | null = null;
  #stage: 'prelude' | 'statement' | 'question';
  #error: Error | null = null;
  #failedIn: 'prelude' | 'statement' = 'statement';
  #isSent = false;
  #isDone = false;
  #isSyncWaitCancelled = false;
  #result: unknown = null;
  #answer: RowMessage['fields'] | null = null;

  constructor(client: pg.ClientBase, plan: ExchangePlan, finish: (report: ExchangeReport) => void) {
    this.#client = client;
    this.#plan = plan;
    this.#finish = finish;
    this.#stage = plan.prelude === undefined ? 'statement' : 'prelude';
    this.query_timeout = plan.statement.query_timeout;
    // Without parameters pg would send a simple query, which the server does not skip behind a failed
    // prelude and answers out of step.
    const config = plan.prelude === undefined ? plan.statement : { ...plan.statement, queryMode: 'extended' };
    this.#query = new pg.Query(config as pg.QueryConfig) as unknown as QueryInternals;
    this.#query.callback = (error, result): void => {
      if (error !== null) this.#fail(error, 'statement');
      else this.#result = result;
    };
  }

  /** pg's Client puts its type parsers here. */
  get _result(): unknown {
    return this.#query._result;
  }

  /** pg's Client records the parsed statement under this name: the one whose turn it is. */
  get name(): string | undefined {
    return this.#stage === 'prelude' ? this.#plan.prelude?.name : this.#plan.statement.name;
  }

  get text(): string | undefined {
    return this.#stage === 'prelude' ? this.#plan.prelude?.text : this.#plan.statement.text;
  }

  submit(connection: WireConnection): Error | null {
    if (!connection.stream.writable) return new Error('Connection terminated unexpectedly');
    this.#connection = connection;
    connection.on('readyForQuery', this.#onReady);
    connection.once('end', this.#onEnd);
    this.#client.on('notice', this.#onNotice);
    connection.stream.cork();
    try {
      return this.#write(connection);
    } finally {
      connection.stream.uncork();
    }
  }

  #write(connection: WireConnection): Error | null {
    const { prelude, question } = this.#plan;
    if (prelude !== undefined) writePrelude(connection, prelude);
    const refusal = this.#query.submit(connection);
    if (refusal !== null && prelude === undefined) {
      this.#fail(refusal, 'statement');
      return refusal;
    }
    this.#isSent = true;
    if (refusal !== null) {
      this.#fail(refusal, 'statement');
      connection.sync();
    }
    if (question !== undefined) connection.query(question);
    return null;
  }

  handleRowDescription(message: unknown): void {
    if (this.#stage === 'statement') this.#query.handleRowDescription(message);
  }

  handleDataRow(message: RowMessage): void {
    if (this.#stage === 'statement') this.#query.handleDataRow(message);
    else if (this.#stage === 'question') this.#answer = message.fields;
  }

  handleCommandComplete(message: unknown, connection: WireConnection): void {
    if (this.#stage === 'prelude') this.#stage = 'statement';
    else if (this.#stage === 'statement') this.#query.handleCommandComplete(message, connection);
  }

  handleEmptyQuery(connection: WireConnection): void {
    this.#query.handleEmptyQuery(connection);
  }

  handlePortalSuspended(connection: WireConnection): void {
    this.#query.handlePortalSuspended(connection);
  }

  handleCopyInResponse(connection: WireConnection): void {
    this.#query.handleCopyInResponse(connection);
  }

  handleCopyData(): void {}

  handleError(error: Error): void {
    if (this.#stage !== 'question') this.#fail(error, this.#stage);
    if (this.#stage === 'prelude') this.#forgetSkippedStatement();
    // After an error of the server's own, the connection becomes ready again, or ends.
    if (error instanceof pg.DatabaseError && this.#connection !== null) return;
    const isRefusedUnsent =
      !this.#isSent && error === this.#error && this.#connection?.stream.writable === true;
    this.#end(!isRefusedUnsent);
  }

  handleReadyForQuery(connection: WireConnection): void {
    if (this.#stage === 'statement' && this.#error === null) this.#query.handleReadyForQuery(connection);
  }

  readonly #onReady = (): void => {
    if (this.#stage === 'question' || this.#plan.question === undefined) return this.#end(false);
    this.#stage = 'question';
    // The question is on its way already: this only makes the Client hand its answer to this exchange.
    this.#client.query(new Continuation(this) as unknown as pg.Submittable);
  };

  readonly #onEnd = (): void => {
    if (this.#stage !== 'question') this.#fail(new Error('Connection terminated unexpectedly'), this.#stage);
    this.#end(true);
  };

  readonly #onNotice = (notice: NoticeMessage): void => {
    // PostgreSQL's messages are translated, its function names are not.
    if (notice.routine === 'SyncRepWaitForLSN' && notice.code === '01000') this.#isSyncWaitCancelled = true;
  };

  #fail(error: Error, failedIn: 'prelude' | 'statement'): void {
    if (this.#error !== null) return;
    this.#error = error;
    this.#failedIn = failedIn;
  }

  /** The server skipped the Parse behind the failed prelude, so the name must be parsed again next time. */
  #forgetSkippedStatement(): void {
    const { name } = this.#plan.statement;
    const connection = this.#connection;
    if (name === undefined || connection === null || connection.parsedStatements[name] !== undefined) return;
    delete connection.submittedNamedStatements[name];
  }

  #end(isBroken: boolean): void {
    if (this.#isDone) return;
    this.#isDone = true;
    this.#connection?.removeListener('readyForQuery', this.#onReady);
    this.#connection?.removeListener('end', this.#onEnd);
    this.#client.removeListener('notice', this.#onNotice);
    this.callback?.(null);
    this.#finish({
      error: this.#error,
      failedIn: this.#failedIn,
      isSent: this.#isSent,
      isBroken,
      result: this.#result,
      answer: this.#answer,
      isSyncWaitCancelled: this.#isSyncWaitCancelled,
    });
  }
}

/** Takes the place of a query on pg's Client for an answer that was asked for earlier. */
class Continuation {
  callback: ((error: Error | null) => void) | undefined = undefined;
  readonly #exchange: Exchange;

  constructor(owner: Exchange) {
    this.#exchange = owner;
  }

  submit(): null {
    return null;
  }

  handleRowDescription(): void {}

  handleDataRow(message: RowMessage): void {
    this.#exchange.handleDataRow(message);
  }

  handleCommandComplete(): void {}

  handleError(error: Error): void {
    this.callback?.(null);
    this.#exchange.handleError(error);
  }

  handleReadyForQuery(): void {
    this.callback?.(null);
  }
}

function writePrelude(connection: WireConnection, prelude: Prelude): void {
  const { name, text, values } = prelude;
  const isParsed =
    connection.parsedStatements[name] !== undefined ||
    connection.submittedNamedStatements[name] !== undefined;
  if (!isParsed) {
    connection.parse({ name, text });
    connection.submittedNamedStatements[name] = text;
  }
  connection.bind({ statement: name, values });
  connection.execute({ portal: '' });
}
