import type pg from 'pg';
import { parseServerError } from './server-error.ts';
import { encodeMessage, WireTakeover } from './takeover.ts';

/** One statement of a flight. It is prepared once on the connection; the text decides which it is. */
export interface PipelineStatement {
  readonly text: string;
  /** In PostgreSQL's binary format; null for NULL. */
  readonly values: readonly (Buffer | null)[];
  /** For COPY … FROM STDIN: what it reads. */
  readonly copyData?: Buffer;
}

/** What a statement did. */
export interface StatementResult {
  /** Rows that it inserted, updated, deleted or selected. */
  readonly rowCount: number;
  /** Fields in text format; empty for what returns none. */
  readonly rows: readonly (readonly (string | null)[])[];
}

/** A flight that failed: PostgreSQL's error, or the connection's, and the statement it was about. */
export interface FlightFailure {
  readonly error: Error;
  /** Index of the statement; -1 when the connection was lost and nothing is known of any. */
  readonly at: number;
}

export type FlightResult =
  { readonly results: readonly StatementResult[] } | { readonly failure: FlightFailure };

interface Flight {
  readonly statements: readonly PipelineStatement[];
  readonly results: StatementResult[];
  readonly parsed: string[];
  rows: (readonly (string | null)[])[];
  failure: FlightFailure | null;
  readonly resolve: (result: FlightResult) => void;
}

const NO_ROWS: readonly (readonly (string | null)[])[] = [];
const PARSE_COMPLETE = 0x31;
const DATA_ROW = 0x44;
const COMMAND_COMPLETE = 0x43;
const EMPTY_QUERY = 0x49;
const ERROR = 0x45;
const READY = 0x5a;
const SYNC: Buffer = encodeMessage('S', []);
/** Execute of the unnamed portal, all rows. */
const EXECUTE: Buffer = encodeMessage('E', [Buffer.from([0, 0, 0, 0, 0])]);
const COPY_DONE: Buffer = encodeMessage('c', []);
/** A statement that is never used again costs memory on the server. */
const MAX_PREPARED = 500;

/**
 * Sends flights of statements one after the other without waiting for answers: a far server is as busy as a near
 * one. When a statement fails, the server skips the rest of its flight; what became of later flights is up to
 * their own statements. Source: PostgreSQL documentation, "Pipelining".
 */
export class Pipeline {
  readonly #wire: WireTakeover;
  readonly #flights: Flight[] = [];
  readonly #names = new Map<string, string>();
  #nextName = 0;
  #lost: Error | null = null;

  /** Takes over an idle client, which belongs to the pipeline from now on. */
  constructor(client: pg.Client) {
    this.#wire = new WireTakeover(client, {
      onFrame: (type, buffer, start, end) => this.#receive(type, buffer, start, end),
      onClose: (error) => this.#close(error),
    });
  }

  /** Flights that were sent and not answered. */
  get inFlight(): number {
    return this.#flights.length;
  }

  get isOpen(): boolean {
    return this.#lost === null;
  }

  /** Bytes that wait for the network. */
  get queuedBytes(): number {
    return this.#wire.queuedBytes;
  }

  /** Sends statements as one flight. Never rejects: the result says what failed. */
  send(statements: readonly PipelineStatement[]): Promise<FlightResult> {
    if (this.#lost !== null) return Promise.resolve({ failure: { error: this.#lost, at: -1 } });
    return new Promise((resolve) => {
      const flight: Flight = { statements, results: [], parsed: [], rows: [], failure: null, resolve };
      this.#flights.push(flight);
      this.#wire.cork();
      for (const statement of statements) this.#write(statement, flight);
      this.#wire.write(SYNC);
      this.#wire.uncork();
    });
  }

  /** Resolves when less waits for the network than it should. */
  drained(): Promise<void> {
    return new Promise((resolve) => {
      this.#wire.onceDrained(resolve);
      if (this.#wire.queuedBytes === 0 || !this.isOpen) resolve();
    });
  }

  end(): void {
    this.#wire.end();
  }

  destroy(error: Error): void {
    this.#wire.destroy(error);
  }

  #write({ text, values, copyData }: PipelineStatement, flight: Flight): void {
    let name = this.#names.get(text);
    if (name === undefined) {
      name = this.#names.size < MAX_PREPARED ? `p${this.#nextName++}` : '';
      if (name !== '') this.#names.set(text, name);
      flight.parsed.push(text);
      this.#wire.write(encodeMessage('P', [Buffer.from(`${name}\0${text}\0\0\0`)]));
    }
    this.#writeBind(name, values);
    this.#wire.write(EXECUTE);
    if (copyData !== undefined) this.#writeCopy(copyData);
  }

  /** Without waiting to be asked for it: where the COPY is refused or skipped, the server passes over its data. */
  #writeCopy(data: Buffer): void {
    const head = Buffer.allocUnsafe(5);
    head[0] = 0x64;
    head.writeUInt32BE(data.length + 4, 1);
    this.#wire.write(head);
    this.#wire.write(data);
    this.#wire.write(COPY_DONE);
  }

  /** Large values are handed to the network as they are, without a copy. */
  #writeBind(name: string, values: readonly (Buffer | null)[]): void {
    const head = Buffer.from(`\0${name}\0\0\x01\0\x01\0\0`, 'latin1');
    head.writeUInt16BE(values.length, head.length - 2);
    const bytes = values.reduce((sum, value) => sum + 4 + (value?.length ?? 0), head.length + 2);
    const start = Buffer.allocUnsafe(5);
    start[0] = 0x42;
    start.writeUInt32BE(bytes + 4, 1);
    this.#wire.write(start);
    this.#wire.write(head);
    for (const value of values) {
      const length = Buffer.allocUnsafe(4);
      length.writeInt32BE(value === null ? -1 : value.length, 0);
      this.#wire.write(length);
      if (value !== null && value.length > 0) this.#wire.write(value);
    }
    this.#wire.write(Buffer.from([0, 0]));
  }

  #receive(type: number, buffer: Buffer, start: number, end: number): void {
    const flight = this.#flights.at(0);
    if (flight === undefined) {
      // Between flights the server only says farewell, or notes something.
      if (type === ERROR) this.#wire.destroy(parseServerError(buffer, start, end));
      return;
    }
    switch (type) {
      case PARSE_COMPLETE:
        flight.parsed.shift();
        return;
      case DATA_ROW:
        flight.rows.push(readFields(buffer, start));
        return;
      case COMMAND_COMPLETE:
      case EMPTY_QUERY:
        flight.results.push({
          rowCount: readCount(buffer, start, end),
          rows: flight.rows.length === 0 ? NO_ROWS : flight.rows,
        });
        flight.rows = [];
        return;
      case ERROR:
        flight.failure ??= { error: parseServerError(buffer, start, end), at: flight.results.length };
        return;
      case READY:
        this.#finish(flight);
        return;
      default:
    }
  }

  #finish(flight: Flight): void {
    // At once: what it has sent may be many megabytes.
    this.#flights.shift();
    // What was not parsed because of the failure is prepared with the next use.
    for (const text of flight.parsed) this.#names.delete(text);
    const { failure, results } = flight;
    flight.resolve(failure === null ? { results } : { failure });
  }

  #close(error: Error | null): void {
    this.#lost = error ?? new Error('The pipeline was ended.');
    for (const { failure, resolve } of this.#flights.splice(0))
      resolve({ failure: { error: failure?.error ?? this.#lost, at: failure?.at ?? -1 } });
  }
}

/** The number at the end of a command's tag, such as `INSERT 0 5`. */
function readCount(buffer: Buffer, start: number, end: number): number {
  let count = 0;
  for (let at = end - 2, unit = 1; at >= start; at--, unit *= 10) {
    const digit = (buffer[at] as number) - 0x30;
    if (digit < 0 || digit > 9) break;
    count += digit * unit;
  }
  return count;
}

function readFields(buffer: Buffer, start: number): readonly (string | null)[] {
  const fields: (string | null)[] = [];
  let at = start + 2;
  for (let left = buffer.readUInt16BE(start); left > 0; left--) {
    const length = buffer.readInt32BE(at);
    at += 4;
    fields.push(length < 0 ? null : buffer.toString('utf8', at, at + length));
    if (length > 0) at += length;
  }
  return fields;
}
