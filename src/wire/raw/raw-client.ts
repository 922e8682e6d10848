import type pg from 'pg';
import { parseServerError } from './server-error.ts';
import { encodeMessage, encodeQuery, WireTakeover } from './takeover.ts';

const COPY_IN = 0x47;
const COPY_DATA = 0x64;
const COPY_DONE = 0x63;
const COMMAND_COMPLETE = 0x43;
const ERROR = 0x45;
const READY = 0x5a;
const HEADER_BYTES = 5;

/** What the running command wants to hear. */
interface Listener {
  onCopyIn?: () => void;
  onCopyData?: (buffer: Buffer, start: number, end: number) => void;
  onCopyDone?: () => void;
  onTag: (tag: string) => void;
  onError: (error: Error) => void;
  onReady: () => void;
}

/** Runs statements without parameters, and copies between two servers without looking at the rows. */
export class RawClient {
  readonly #wire: WireTakeover;
  #listener: Listener | null = null;
  #lost: Error | null = null;

  /** Takes over an idle client. */
  constructor(client: pg.Client) {
    this.#wire = new WireTakeover(client, {
      onFrame: (type, buffer, start, end) => this.#receive(type, buffer, start, end),
      onClose: (error) => {
        this.#lost = error ?? new Error('The connection was closed.');
        this.#listener?.onError(this.#lost);
        this.#listener?.onReady();
      },
    });
  }

  /** Runs a statement and gives its command tag. Rejects with PostgreSQL's error, or the connection's. */
  run(text: string): Promise<string> {
    return this.#command(text, {});
  }

  end(): void {
    this.#wire.end();
  }

  destroy(error: Error): void {
    this.#wire.destroy(error);
  }

  /**
   * Sends what `copyOut` gives on the one server to `copyIn` on the other, no faster than the slower of them. Gives
   * the number of rows. When either fails, both connections are of no further use.
   */
  static async copy(
    from: RawClient,
    copyOut: string,
    to: RawClient,
    copyIn: string,
    onBytes: (count: number) => void,
  ): Promise<number> {
    const fail = (error: unknown): never => {
      from.destroy(error as Error);
      to.destroy(error as Error);
      throw error;
    };
    let begin: () => void = () => undefined;
    const isReady = new Promise<void>((resolve) => (begin = resolve));
    const written = to.#command(copyIn, { onCopyIn: () => begin() });
    await Promise.race([isReady, written]).catch(fail);
    const relay = new Relay(from.#wire, to.#wire, onBytes);
    const read = from.#command(copyOut, {
      onCopyData: (buffer, start, end) => relay.add(buffer, start - HEADER_BYTES, end),
      onCopyDone: () => relay.finish(),
    });
    const [, tag] = await Promise.all([read, written]).catch(fail);
    return Number(/\d+$/.exec(tag)?.[0] ?? 0);
  }

  #command(text: string, more: Partial<Listener>): Promise<string> {
    if (this.#lost !== null) return Promise.reject(this.#lost);
    return new Promise((resolve, reject) => {
      let failure: Error | null = null;
      let last = '';
      this.#listener = {
        ...more,
        onTag: (tag) => (last = tag),
        onError: (error) => (failure ??= error),
        onReady: () => {
          this.#listener = null;
          if (failure === null) resolve(last);
          else reject(failure);
        },
      };
      this.#wire.write(encodeQuery(text));
    });
  }

  #receive(type: number, buffer: Buffer, start: number, end: number): void {
    const listener = this.#listener;
    if (type === COPY_DATA) listener?.onCopyData?.(buffer, start, end);
    else if (type === COMMAND_COMPLETE) listener?.onTag(buffer.toString('latin1', start, end - 1));
    else if (type === READY) listener?.onReady();
    else if (type === ERROR) listener?.onError(parseServerError(buffer, start, end));
    else if (type === COPY_IN) listener?.onCopyIn?.();
    else if (type === COPY_DONE) listener?.onCopyDone?.();
  }
}

/** Passes messages on as they came: those that lie side by side in one piece. */
class Relay {
  readonly #from: WireTakeover;
  readonly #to: WireTakeover;
  readonly #onBytes: (count: number) => void;
  #buffer: Buffer | null = null;
  #start = 0;
  #end = 0;

  constructor(from: WireTakeover, to: WireTakeover, onBytes: (count: number) => void) {
    this.#from = from;
    this.#to = to;
    this.#onBytes = onBytes;
  }

  add(buffer: Buffer, start: number, end: number): void {
    if (buffer === this.#buffer && start === this.#end) {
      this.#end = end;
      return;
    }
    if (this.#buffer === null) queueMicrotask(() => this.#pass());
    else this.#pass();
    this.#buffer = buffer;
    this.#start = start;
    this.#end = end;
  }

  finish(): void {
    this.#pass();
    this.#to.write(encodeMessage('c', []));
  }

  #pass(): void {
    const buffer = this.#buffer;
    if (buffer === null) return;
    this.#buffer = null;
    this.#onBytes(this.#end - this.#start);
    if (this.#to.write(buffer.subarray(this.#start, this.#end))) return;
    this.#from.pause();
    this.#to.onceDrained(() => this.#from.resume());
  }
}
