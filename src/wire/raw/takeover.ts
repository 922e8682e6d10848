import { Buffer } from 'node:buffer';
import type { Socket } from 'node:net';
import type pg from 'pg';
import { systemClock } from '../../clock/system-clock.ts';
import type { Clock } from '../../model/clock.ts';
import { LockstepError } from '../../model/errors.ts';
import { endGuard } from '../guarded-client.ts';

/** PostgreSQL itself sends nothing longer than a field of 1 GB and what belongs to it. */
const MAX_MESSAGE_BYTES = 1_200_000_000;
const HEADER_BYTES = 5;

/** A message is `buffer[start, end)` without its header; the bytes are never written to again. */
export type FrameHandler = (type: number, buffer: Buffer, start: number, end: number) => void;

/** Cuts a stream of bytes into PostgreSQL's messages without copying those that arrive in one piece. */
export class FrameReader {
  readonly #onFrame: FrameHandler;
  #parts: Buffer[] = [];
  #have = 0;
  #need = HEADER_BYTES;

  constructor(onFrame: FrameHandler) {
    this.#onFrame = onFrame;
  }

  /** Throws POSTGRES_FAILED for a length that no message has. */
  push(chunk: Buffer): void {
    let at = 0;
    while (this.#have > 0) {
      const taken = Math.min(chunk.length - at, this.#need - this.#have);
      this.#parts.push(chunk.subarray(at, at + taken));
      this.#have += taken;
      at += taken;
      if (this.#have < this.#need) return;
      const message = Buffer.concat(this.#parts);
      this.#parts = [message];
      this.#need = lengthAt(message, 0);
      if (this.#have < this.#need) continue;
      this.#parts = [];
      this.#have = 0;
      this.#need = HEADER_BYTES;
      this.#onFrame(message[0] as number, message, HEADER_BYTES, message.length);
    }
    const end = chunk.length;
    while (at + HEADER_BYTES <= end) {
      const next = at + lengthAt(chunk, at);
      if (next > end) {
        this.#need = next - at;
        break;
      }
      this.#onFrame(chunk[at] as number, chunk, at + HEADER_BYTES, next);
      at = next;
    }
    if (at === end) return;
    this.#parts = [chunk.subarray(at)];
    this.#have = end - at;
  }
}

function lengthAt(buffer: Buffer, at: number): number {
  const length = buffer.readUInt32BE(at + 1);
  if (length >= 4 && length <= MAX_MESSAGE_BYTES) return length + 1;
  throw new LockstepError('POSTGRES_FAILED', `The server sent a message of ${length} bytes, which none has.`);
}

/** A server that does not close its side would keep the socket for ever. */
const CLOSE_TIMEOUT_MS = 1000;

/** What a connection that was taken over hears. */
export interface TakeoverHandler {
  onFrame: FrameHandler;
  /** So many bytes were read at once, and the messages that ended in them were handled. */
  onRead?(bytes: number): void;
  /** Once, with why the connection is of no further use; null when it was closed from here. */
  onClose(error: Error | null): void;
}

/**
 * A connection of pg's whose messages are read and written here from now on: pg logs in and encrypts, and
 * what then runs at full speed goes past its queue and its parser. Take over only while the connection is idle.
 */
export class WireTakeover {
  readonly #stream: Socket;
  readonly #clock: Clock;
  #onClose: ((error: Error | null) => void) | null;
  #failure: Error | null = null;

  constructor(client: pg.Client, handler: TakeoverHandler, clock: Clock = systemClock) {
    this.#clock = clock;
    const { connection } = client as unknown as { connection: { stream: Socket } };
    this.#stream = connection.stream;
    this.#onClose = (error) => handler.onClose(error);
    const frames = new FrameReader((type, buffer, start, end) => handler.onFrame(type, buffer, start, end));
    endGuard(this.#stream);
    this.#stream.removeAllListeners('data');
    this.#stream.on('data', (chunk: Buffer) => {
      try {
        frames.push(chunk);
        handler.onRead?.(chunk.length);
      } catch (error) {
        this.destroy(error as Error);
      }
    });
    this.#stream.on('error', (error) => (this.#failure ??= error));
    this.#stream.on('close', () => this.#close(this.#failure ?? lost()));
    this.#stream.resume();
    if (this.#stream.destroyed) queueMicrotask(() => this.#close(lost()));
  }

  get isOpen(): boolean {
    return this.#onClose !== null && this.#stream.writable;
  }

  /** Bytes that wait for the network. */
  get queuedBytes(): number {
    return this.#stream.writableLength;
  }

  /** Bytes that were received while it was paused and have not been handled. */
  get waitingBytes(): number {
    return this.#stream.readableLength;
  }

  /** False once more waits for the network than it should; `onceDrained` tells when it is gone. */
  write(bytes: Buffer): boolean {
    return this.isOpen ? this.#stream.write(bytes) : false;
  }

  onceDrained(listener: () => void): void {
    this.#stream.once('drain', listener);
  }

  /** What is written until {@link uncork} goes out together. */
  cork(): void {
    this.#stream.cork();
  }

  uncork(): void {
    this.#stream.uncork();
  }

  pause(): void {
    this.#stream.pause();
  }

  resume(): void {
    this.#stream.resume();
  }

  /** Says farewell and closes; `onClose` gets null. */
  end(): void {
    const closed = this.#onClose;
    this.#onClose = null;
    if (this.#stream.writable) this.#stream.end(encodeMessage('X', []));
    this.#stream.resume();
    this.#clock.after(CLOSE_TIMEOUT_MS, () => this.#stream.destroy());
    closed?.(null);
  }

  /** Closes at once; `onClose` gets the error. */
  destroy(error: Error): void {
    this.#close(error);
    this.#stream.destroy();
  }

  #close(error: Error): void {
    const closed = this.#onClose;
    this.#onClose = null;
    closed?.(error);
  }
}

function lost(): LockstepError {
  return new LockstepError('POSTGRES_FAILED', 'The connection to PostgreSQL was lost; it can be made anew.', {
    outcome: 'unknown',
    retryable: true,
  });
}

/** One message of the given kind. */
export function encodeMessage(type: string, parts: readonly Buffer[]): Buffer {
  const length = parts.reduce((sum, part) => sum + part.length, 0);
  const head = Buffer.allocUnsafe(HEADER_BYTES);
  head.writeUInt8(type.charCodeAt(0), 0);
  head.writeUInt32BE(length + 4, 1);
  return Buffer.concat([head, ...parts], length + HEADER_BYTES);
}

/** A simple query. */
export function encodeQuery(text: string): Buffer {
  return encodeMessage('Q', [Buffer.from(`${text}\0`)]);
}
