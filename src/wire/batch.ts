import pg from 'pg';
import wire from 'pg/lib/utils.js';

/**
 * The part of pg's Connection that a Submittable may use. pg-cursor and pg-query-stream stand on the same
 * calls. Source: node-postgres, "Submittable", and PostgreSQL documentation, "Extended Query".
 */
export interface WireConnection extends NodeJS.EventEmitter {
  readonly stream: {
    cork(): void;
    uncork(): void;
    write(bytes: Buffer): boolean;
    readonly writable: boolean;
  };
  readonly parsedStatements: Record<string, string | undefined>;
  readonly submittedNamedStatements: Record<string, string | undefined>;
  parse(statement: { name: string | undefined; text: string; types: unknown }): void;
  bind(binding: {
    portal: string;
    statement: string | undefined;
    values: readonly unknown[];
    binary: boolean | undefined;
  }): void;
  describe(target: { type: 'P'; name: string }): void;
  execute(portal: { portal: string }): void;
  close(target: { type: 'S'; name: string }): void;
  sync(): void;
  close(target: { type: 'S'; name: string }): void;
}

export interface RowMessage {
  readonly fields: readonly (string | null)[];
}

/** A statement of Lockstep's own, parsed once per connection under its name. */
export interface OwnStatement {
  readonly name: string;
  readonly text: string;
  readonly values: readonly string[];
  /** Its Bind and Execute as bytes, once they were needed: such a statement is sent again and again. */
  bytes?: Buffer;
}

/** What names a prepared statement. */
export type PreparedQuery = Pick<OwnStatement, 'name' | 'text'>;

/** The calls by which pg's Client hands the server's messages to a query. */
export interface QueryInternals {
  callback: ((error: Error | null, result?: unknown) => void) | undefined;
  name: string | undefined;
  readonly text: string;
  readonly values: unknown;
  readonly types: unknown;
  binary: boolean | undefined;
  readonly portal: string;
  rows: unknown;
  readonly _result: { _types: unknown };
  readonly _results: unknown;
  /** Whether it goes by the extended protocol. */
  requiresPreparation(): boolean;
  submit(connection: WireConnection): Error | null;
  handleRowDescription(message: unknown): void;
  handleDataRow(message: unknown): void;
  handleCommandComplete(message: unknown, connection: WireConnection): void;
  handleEmptyQuery(connection: WireConnection): void;
  handlePortalSuspended(connection: WireConnection): void;
  handleCopyInResponse(connection: WireConnection): void;
  handleReadyForQuery(connection: WireConnection): void;
}

export type Step = OwnStatement | QueryInternals;

const NO_VALUES: readonly unknown[] = [];

/**
 * Writes all steps and one Sync. Values are converted before anything is written, so that what cannot be
 * sent is refused as a whole. The caller corks the stream.
 */
export function sendBatch(connection: WireConnection, steps: readonly Step[]): Error | null {
  const values: (readonly unknown[])[] = [];
  for (const step of steps) {
    const refusal = refuse(connection, step);
    if (refusal !== null) return refusal;
    try {
      values.push('callback' in step ? convert(step.values) : step.values);
    } catch (error) {
      return error instanceof Error ? error : new Error(String(error));
    }
  }
  for (let index = 0; index < steps.length; index += 1) {
    const step = steps[index];
    if (step !== undefined) write(connection, step, values[index] ?? NO_VALUES);
  }
  connection.sync();
  return null;
}

function convert(values: unknown): readonly unknown[] {
  return values == null ? NO_VALUES : (values as unknown[]).map((value) => wire.prepareValue(value));
}

/** pg's own refusals. */
function refuse(connection: WireConnection, { name, text, values }: Step): Error | null {
  if (values != null && !Array.isArray(values)) return new Error('Query values must be an array');
  const known = name === undefined ? undefined : textOf(connection, name);
  if (known === undefined || known === text) return null;
  return new Error(`Prepared statements must be unique - '${name}' was used for a different statement`);
}

function textOf(connection: WireConnection, name: string): string | undefined {
  return connection.parsedStatements[name] ?? connection.submittedNamedStatements[name];
}

function write(connection: WireConnection, step: Step, values: readonly unknown[]): void {
  const { name, text } = step;
  const isQuery = 'callback' in step;
  if (name === undefined || textOf(connection, name) === undefined) {
    connection.parse({ name, text, types: isQuery ? step.types : undefined });
    if (name !== undefined) connection.submittedNamedStatements[name] = text;
  }
  if (!isQuery) {
    step.bytes ??= encodeOwnStatement(step);
    connection.stream.write(step.bytes);
    return;
  }
  const { portal } = step;
  connection.bind({ portal, statement: name, values, binary: step.binary });
  connection.describe({ type: 'P', name: portal });
  connection.execute({ portal });
}

/** pg's Connection writes what it serializes to its stream; here the stream is a list. */
function encodeOwnStatement({ name, values }: OwnStatement): Buffer {
  const chunks: Buffer[] = [];
  const collector = { _send: (bytes: Buffer) => chunks.push(bytes) };
  const { bind, execute } = pg.Connection.prototype as unknown as WireConnection;
  bind.call(collector as unknown as WireConnection, {
    portal: '',
    statement: name,
    values,
    binary: undefined,
  });
  // Nobody needs to know the columns of such a statement's row, so that nothing describes them.
  execute.call(collector as unknown as WireConnection, { portal: '' });
  return Buffer.concat(chunks);
}
