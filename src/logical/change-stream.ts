import { tmpdir } from 'node:os';
import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import { LockstepError } from '../model/errors.ts';
import { maxLsn } from '../model/lsn.ts';
import type { Lsn } from '../model/lsn.ts';
import type { Timeline } from '../model/timeline.ts';
import { CopyBoth } from '../wire/raw/copy-both.ts';
import { Assembler } from './core/assembler.ts';
import type { TransactionPart } from './core/change.ts';
import { checkTimeline, connectToLeader, readServerVersion } from './endpoints.ts';
import { pauseAfterRead } from './core/read-pause.ts';
import { startCommand } from './core/start-command.ts';
import { recordsOf } from './spool/spool.ts';
import { spoolFailure, StreamedTransactions } from './spool/streamed-transactions.ts';
import type { StreamedCommit } from './spool/streamed-transactions.ts';

const WAL_DATA = 0x77;
const KEEPALIVE = 0x6b;
const WAL_DATA_HEADER_BYTES = 25;
const POSTGRES_EPOCH_MS = 946_684_800_000;
/** Well below the shortest wal_sender_timeout in use, and often enough to let the server recycle its log. */
const STATUS_EVERY_MS = 1_000;
const PART_BYTES = 262_144;
const MAX_SPOOL_BYTES = 64 * 1_073_741_824;
const SLOT_IS_BUSY = '55006';
const BUSY_SLOT_RETRY_MS = 50;
const SLOT_NAME = /^[a-z0-9_]{1,63}$/;

export interface ChangeStreamOptions {
  /** `postgresql://user:password@host:port,host:port/database`; of several hosts the one that leads is read. */
  readonly from: string;
  /** A logical replication slot of the plugin pgoutput. */
  readonly slot: string;
  readonly publications: readonly string[];
  /**
   * `none` leaves out what an applier with a replication origin wrote, so that two databases that follow each
   * other do not echo. Default `any`.
   */
  readonly origin?: 'any' | 'none';
  /** `binary` leaves values as PostgreSQL's binary format. Default `text`, which is parsed by pg's type parsers. */
  readonly format?: 'text' | 'binary';
  /** Where to go on, for a consumer that keeps its own position; default where the slot was acknowledged. */
  readonly startLsn?: Lsn;
  /** Reading pauses while so much waits to be taken. Default 16 MB. */
  readonly maxQueuedBytes?: number;
  /**
   * How long to wait for a slot that another connection still reads; after a crash it may be the own former one.
   * Default 5000 ms.
   */
  readonly busySlotTimeoutMs?: number;
  /**
   * Whether the slot moves on by itself while nothing is under way. Default true; a consumer that keeps its own
   * position turns it off, so that the slot is never ahead of it.
   */
  readonly confirmsIdle?: boolean;
  /**
   * Has large transactions sent while they are in progress, and keeps them on disk until they commit: a commit is then
   * not waited for while its changes travel. Default false.
   */
  readonly streamsLarge?: boolean;
  /** Where they are kept. Default the system's folder for temporary files. */
  readonly spoolFolder?: string;
  /**
   * How much of them may be kept, together. Where more comes the stream ends with CONFIG_INVALID, and the source still has all
   * of it. 0 keeps none: the source has each on its own disk until it commits. Default 64 GiB.
   */
  readonly maxSpoolBytes?: number;
  readonly applicationName?: string;
  readonly signal?: AbortSignal;
  /** Reads only from this timeline of the server: `startLsn` may mean something else on another. */
  readonly timeline?: Timeline;
}

/** Why reading pauses: much waits to be taken, or for the disk; a kept transaction is gone through; for a moment. */
type Hold = 'queue' | 'disk' | 'replay' | 'moment';

/**
 * The committed transactions of a slot, in commit order, from a leader. Nothing is acknowledged to the server but
 * what {@link acknowledge} was given, and where nothing is under way, the position the server has told.
 */
export class ChangeStream {
  readonly #assembler: Assembler;
  readonly #maxQueuedBytes: number;
  readonly #confirmsIdle: boolean;
  readonly #streamed: StreamedTransactions | null;
  /** Called when there is more to take, and when the stream ended. */
  onMore: (() => void) | null = null;
  #copy: CopyBoth | null = null;
  #timer: NodeJS.Timeout | null = null;
  #queue: TransactionPart[] = [];
  #queuedBytes = 0;
  readonly #holds = new Set<Hold>();
  /** Messages behind the commit of a kept transaction, while that is gone through. */
  #behind: { readonly buffer: Buffer; readonly start: number; readonly end: number }[] = [];
  #onRoom: (() => void) | null = null;
  #wake: (() => void) | null = null;
  #failure: Error | null = null;
  #isClosed = false;
  /** End of the last transaction that was put into the queue. */
  #delivered = 0n as Lsn;
  #acknowledged = 0n as Lsn;
  #confirmed = 0n as Lsn;
  #serverLsn = 0n as Lsn;

  private constructor(options: ChangeStreamOptions, serverVersion: number) {
    this.#maxQueuedBytes = options.maxQueuedBytes ?? 16 * 1_048_576;
    this.#confirmsIdle = options.confirmsIdle ?? true;
    this.#assembler = new Assembler({
      parseText: (oid, text) => parseOfType(oid)(text),
      partBytes: PART_BYTES,
      dropsForeignOrigins: options.origin === 'none' && serverVersion < 160_000,
    });
    this.#streamed = streamsLarge(options)
      ? new StreamedTransactions({
          folder: options.spoolFolder ?? tmpdir(),
          maxBytes: options.maxSpoolBytes ?? MAX_SPOOL_BYTES,
          onFull: (isFull) => (isFull ? this.#hold('disk') : this.#release('disk')),
          onFailure: (error) => this.#fail(error),
        })
      : null;
  }

  /**
   * Begins to read. Throws CONFIG_INVALID for a name that no slot has, NO_LEADER when no host leads, and
   * PostgreSQL's own errors (42704 without such a slot, 55006 while another reads it, 42501 without the right).
   */
  static async open(options: ChangeStreamOptions): Promise<ChangeStream> {
    options.signal?.throwIfAborted();
    if (!SLOT_NAME.test(options.slot)) {
      throw new LockstepError(
        'CONFIG_INVALID',
        `"${options.slot}" cannot be the name of a slot; use up to 63 of a-z, 0-9 and _.`,
      );
    }
    const deadlineMs = performance.now() + (options.busySlotTimeoutMs ?? 5_000);
    for (;;) {
      try {
        return await ChangeStream.#start(options);
      } catch (error) {
        if ((error as pg.DatabaseError).code !== SLOT_IS_BUSY || performance.now() > deadlineMs) throw error;
        await delay(BUSY_SLOT_RETRY_MS, undefined, { signal: options.signal });
      }
    }
  }

  static async #start(options: ChangeStreamOptions): Promise<ChangeStream> {
    const client = await connectToLeader(options.from, {
      applicationName: options.applicationName ?? 'lockstep changes',
      replication: true,
    });
    try {
      const version = await readServerVersion(client);
      if (options.timeline !== undefined) await checkTimeline(client, options.timeline);
      const stream = new ChangeStream(options, version);
      stream.#copy = await CopyBoth.start(
        client,
        startCommand({ ...options, streamsLarge: streamsLarge(options) }, version),
        {
          onData: (buffer, start, end) => stream.#receive(buffer, start, end),
          onRead: (bytes) => stream.#afterRead(bytes),
          onEnd: (error) => stream.#end(error),
        },
      );
      // What came with the server's first answer may have ended it.
      if (stream.#failure === null) stream.#timer = setInterval(() => stream.#report(), STATUS_EVERY_MS);
      options.signal?.addEventListener('abort', () => stream.close(), { once: true });
      return stream;
    } catch (error) {
      await client.end().catch(() => undefined);
      throw error;
    }
  }

  /** How far the server has decoded, as it last said. */
  get serverLsn(): Lsn {
    return this.#serverLsn;
  }

  /** End of the last transaction that was received whole. */
  get receivedLsn(): Lsn {
    return this.#delivered;
  }

  /** What the server was last told to be durable. */
  get confirmedLsn(): Lsn {
    return this.#confirmed;
  }

  /**
   * All that has been received, once there is something; an empty list when the stream was closed. Throws what
   * ended the stream, after everything before it was taken.
   */
  async take(): Promise<readonly TransactionPart[]> {
    while (this.#queue.length === 0) {
      if (this.#failure !== null) throw this.#failure;
      if (this.#isClosed) return [];
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
    return this.#drain();
  }

  /** All that has been received and not been taken, which may be nothing. Throws like {@link take}. */
  takeNow(): readonly TransactionPart[] {
    if (this.#queue.length === 0 && this.#failure !== null) throw this.#failure;
    return this.#drain();
  }

  #drain(): readonly TransactionPart[] {
    const parts = this.#queue;
    if (parts.length === 0) return parts;
    this.#queue = [];
    this.#queuedBytes = 0;
    this.#release('queue');
    const onRoom = this.#onRoom;
    this.#onRoom = null;
    onRoom?.();
    return parts;
  }

  /** Whether {@link take} would give something at once. */
  get hasMore(): boolean {
    return this.#queue.length > 0 || this.#failure !== null;
  }

  /**
   * Everything up to here is durable at the consumer and need never be sent again: the end of a transaction, or
   * any position before the next one. It is passed on within a second.
   */
  acknowledge(lsn: Lsn): void {
    this.#acknowledged = maxLsn(this.#acknowledged, lsn);
  }

  /** Tells the server what is durable, and ends. What was not taken is lost to this stream, not to the slot. */
  close(): void {
    if (this.#isClosed) return;
    this.#report();
    this.#isClosed = true;
    this.#copy?.end();
    this.#end(null);
  }

  #receive(buffer: Buffer, start: number, end: number): void {
    try {
      if (buffer[start] === WAL_DATA) this.#receiveData(buffer, start, end);
      else if (buffer[start] === KEEPALIVE) this.#receiveKeepalive(buffer, start);
      else throw new RangeError(`a stream message of unknown kind ${String(buffer[start])}`);
    } catch (error) {
      this.#fail(notUnderstood(error));
    }
  }

  #fail(failure: Error): void {
    this.#copy?.destroy(failure);
    this.#end(failure);
  }

  #receiveData(buffer: Buffer, start: number, end: number): void {
    const message = { buffer, start: start + WAL_DATA_HEADER_BYTES, end };
    if (this.#holds.has('replay')) this.#behind.push(message);
    else this.#read(message);
  }

  #read({
    buffer,
    start,
    end,
  }: {
    readonly buffer: Buffer;
    readonly start: number;
    readonly end: number;
  }): void {
    const commit = this.#streamed?.push(buffer, start, end) ?? null;
    if (commit === 'kept') return;
    if (commit === null) this.#deliver(this.#assembler.push(buffer, start, end));
    else void this.#replay(commit);
  }

  /** Gives a transaction that was kept, no faster than it is taken; what was received since then comes after it. */
  async #replay({ xid, commitLsn, endLsn, committedAt, spool }: StreamedCommit): Promise<void> {
    this.#hold('replay');
    try {
      this.#assembler.begin(xid, commitLsn, committedAt);
      for await (const chunk of spool.read()) {
        for (const { start, end } of recordsOf(chunk)) {
          this.#deliver(this.#assembler.push(chunk.buffer, start, end));
          while (this.#queuedBytes > this.#maxQueuedBytes && !this.#hasEnded)
            await new Promise<void>((resolve) => (this.#onRoom = resolve));
          if (this.#hasEnded) return;
        }
      }
      this.#deliver(this.#assembler.commit(endLsn));
      this.#holds.delete('replay');
      const behind = this.#behind;
      this.#behind = [];
      for (const message of behind) {
        if (this.#holds.has('replay')) this.#behind.push(message);
        else this.#read(message);
      }
      if (this.#holds.size === 0) this.#copy?.resume();
    } catch (error) {
      this.#fail(error instanceof RangeError ? notUnderstood(error) : spoolFailure(error as Error));
    } finally {
      await spool.close();
    }
  }

  #deliver(part: TransactionPart | null): void {
    if (part === null) return;
    if (part.isLast) {
      this.#delivered = part.endLsn;
      this.#serverLsn = maxLsn(this.#serverLsn, part.endLsn);
    }
    this.#queue.push(part);
    this.#queuedBytes += part.byteLength;
    if (this.#queuedBytes > this.#maxQueuedBytes) this.#hold('queue');
    this.#notify();
  }

  #notify(): void {
    const wake = this.#wake;
    this.#wake = null;
    wake?.();
    this.onMore?.();
  }

  /** Lets what arrives in the next moment be read at once. */
  #afterRead(bytes: number): void {
    if (this.#holds.size > 0) return;
    const isInLarge = this.#streamed?.isInStretch === true || this.#assembler.isInLarge;
    const pauseMs = pauseAfterRead({ bytes, waitingBytes: this.#copy?.waitingBytes ?? 0, isInLarge });
    if (pauseMs === null) return;
    this.#hold('moment');
    setTimeout(() => this.#release('moment'), pauseMs);
  }

  #hold(why: Hold): void {
    this.#holds.add(why);
    this.#copy?.pause();
  }

  #release(why: Hold): void {
    if (this.#holds.delete(why) && this.#holds.size === 0) this.#copy?.resume();
  }

  #receiveKeepalive(buffer: Buffer, start: number): void {
    this.#serverLsn = maxLsn(this.#serverLsn, buffer.readBigUInt64BE(start + 1) as Lsn);
    if (buffer[start + 17] === 1) this.#report();
  }

  /** Nothing was received that was not taken: what the server has decoded holds nothing more. */
  get isDrained(): boolean {
    return this.#queue.length === 0 && !this.#assembler.isInTransaction && !this.#holds.has('replay');
  }

  get #isIdle(): boolean {
    return this.isDrained && this.#acknowledged >= this.#delivered;
  }

  /** Source: "Streaming Replication Protocol", Standby status update. */
  #report(): void {
    if (this.#isClosed || this.#copy === null) return;
    const durable =
      this.#confirmsIdle && this.#isIdle ? maxLsn(this.#acknowledged, this.#serverLsn) : this.#acknowledged;
    this.#confirmed = maxLsn(this.#confirmed, durable);
    const message = Buffer.alloc(34);
    message[0] = 0x72;
    message.writeBigUInt64BE(maxLsn(this.#confirmed, this.#delivered), 1);
    message.writeBigUInt64BE(this.#confirmed, 9);
    message.writeBigUInt64BE(this.#confirmed, 17);
    message.writeBigInt64BE(BigInt(Date.now() - POSTGRES_EPOCH_MS) * 1_000n, 25);
    this.#copy.send(message);
  }

  get #hasEnded(): boolean {
    return this.#isClosed || this.#failure !== null;
  }

  #end(error: Error | null): void {
    if (this.#timer !== null) clearInterval(this.#timer);
    this.#timer = null;
    if (error !== null && !this.#isClosed) this.#failure ??= error;
    else this.#isClosed = true;
    this.#streamed?.close();
    this.#onRoom?.();
    this.#notify();
  }
}

function notUnderstood(error: unknown): LockstepError {
  const why = error instanceof Error ? error.message : String(error);
  return new LockstepError('POSTGRES_FAILED', `The server sent ${why}.`, { cause: error });
}

const parseOfType = pg.types.getTypeParser as (oid: number, format?: 'text') => (text: string) => unknown;

function streamsLarge(options: ChangeStreamOptions): boolean {
  return options.streamsLarge === true && options.maxSpoolBytes !== 0;
}
