import type { Buffer } from 'node:buffer';
import type pg from 'pg';
import { LockstepError } from '../../model/errors.ts';
import { parseServerError } from './server-error.ts';
import { encodeMessage, encodeQuery, WireTakeover } from './takeover.ts';

const COPY_BOTH = 0x57;
const COPY_DATA = 0x64;
const ERROR = 0x45;
const COPY_DONE = 0x63;

/** What a stream in both directions hears. */
export interface CopyBothHandler {
  /** One message, `buffer[start, end)`. The bytes may be kept: nobody writes to them again. */
  onData(buffer: Buffer, start: number, end: number): void;
  /** So many bytes were read at once: few when nothing more waits. */
  onRead(bytes: number): void;
  /** Once. Null when it was ended from here; else PostgreSQL's error or the connection's. */
  onEnd(error: Error | null): void;
}

/**
 * A stream in both directions on a replication connection (START_REPLICATION).
 * Source: PostgreSQL documentation, "COPY Operations" and "Streaming Replication Protocol".
 */
export class CopyBoth {
  readonly #wire: WireTakeover;

  private constructor(wire: WireTakeover) {
    this.#wire = wire;
  }

  /**
   * Runs the command; resolves when the server streams, and rejects with its error when it does not. The client
   * must be idle and belongs to the stream from now on.
   */
  static start(client: pg.Client, command: string, handler: CopyBothHandler): Promise<CopyBoth> {
    return new Promise((resolve, reject) => {
      let isStreaming = false;
      const wire = new WireTakeover(client, {
        onFrame(type, buffer, start, end) {
          if (type === COPY_DATA) handler.onData(buffer, start, end);
          else if (type === COPY_BOTH) {
            isStreaming = true;
            resolve(new CopyBoth(wire));
          } else if (type === ERROR) wire.destroy(parseServerError(buffer, start, end));
          else if (type === COPY_DONE) wire.destroy(ended());
        },
        onRead(bytes) {
          if (isStreaming) handler.onRead(bytes);
        },
        onClose(error) {
          if (isStreaming) handler.onEnd(error);
          else reject(error ?? ended());
        },
      });
      wire.write(encodeQuery(command));
    });
  }

  /** Bytes that have been read and not handed on: what came after {@link pause}, which is handed on piece by piece. */
  get waitingBytes(): number {
    return this.#wire.waitingBytes;
  }

  /** Sends one message to the server. */
  send(payload: Buffer): void {
    this.#wire.write(encodeMessage('d', [payload]));
  }

  /** Stops reading, so that the network and then the server hold back. */
  pause(): void {
    this.#wire.pause();
  }

  resume(): void {
    this.#wire.resume();
  }

  /** Closes; the handler's `onEnd` gets null. What was sent before still goes out. */
  end(): void {
    this.#wire.end();
  }

  /** Closes at once; the handler's `onEnd` gets the error. */
  destroy(error: Error): void {
    this.#wire.destroy(error);
  }
}

function ended(): LockstepError {
  return new LockstepError('POSTGRES_FAILED', 'The server ended the stream; it can be started anew.', {
    retryable: true,
  });
}
