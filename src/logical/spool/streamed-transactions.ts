import { LockstepError } from '../../model/errors.ts';
import type { Lsn } from '../../model/lsn.ts';
import { Spool } from './spool.ts';

const STREAM_START = 0x53;
const STREAM_STOP = 0x45;
const STREAM_COMMIT = 0x63;
const STREAM_ABORT = 0x41;
/** The only message within a stream that does not say by which subtransaction it was written. */
const ORIGIN = 0x4f;
/** Reading pauses while so much waits for the disk. */
const MAX_WAITING_BYTES = 8 * 1_048_576;

/** A transaction that was sent before it committed, and now has. */
export interface StreamedCommit {
  readonly xid: number;
  readonly commitLsn: Lsn;
  readonly endLsn: Lsn;
  /** In the server's own count. */
  readonly committedAt: bigint;
  /** To be closed by whoever reads it. */
  readonly spool: Spool;
}

export interface StreamedTransactionsOptions {
  /** Where large transactions are kept until they commit. */
  readonly folder: string;
  /** How much may be kept of all of them together. */
  readonly maxBytes: number;
  /** Whether more waits for the disk than should; told when that changes. */
  readonly onFull: (isFull: boolean) => void;
  /** The disk failed, or there is more than may be kept. */
  readonly onFailure: (error: LockstepError) => void;
}

/**
 * Keeps what the server sends of transactions in progress until each commits or is rolled back. Their stretches come in
 * turn, those of one transaction in order. Source: PostgreSQL documentation, "Logical Streaming Replication Protocol".
 */
export class StreamedTransactions {
  readonly #options: StreamedTransactionsOptions;
  readonly #spools = new Map<number, Spool>();
  readonly #spare: Buffer[] = [];
  /** The transaction whose stretch comes now. */
  #current: { readonly xid: number; readonly spool: Spool } | null = null;
  #waitingBytes = 0;
  #keptBytes = 0;
  #isFull = false;

  constructor(options: StreamedTransactionsOptions) {
    this.#options = options;
  }

  /** A stretch has begun and not ended. */
  get isInStretch(): boolean {
    return this.#current !== null;
  }

  /**
   * Takes a message if it is about a transaction in progress: `kept`, or the commit of one. Null: it is a message like
   * any other. Throws RangeError for what no server sends.
   */
  push(buffer: Buffer, start: number, end: number): 'kept' | StreamedCommit | null {
    const kind = buffer[start] as number;
    if (this.#current !== null) {
      this.#keep(this.#current, kind, buffer, start, end);
      return 'kept';
    }
    switch (kind) {
      case STREAM_START: {
        const xid = buffer.readUInt32BE(start + 1);
        this.#current = { xid, spool: this.#spoolOf(xid, buffer[start + 5] === 1) };
        return 'kept';
      }
      case STREAM_COMMIT:
        return this.#commit(buffer, start);
      case STREAM_ABORT: {
        const [xid, subxid] = [buffer.readUInt32BE(start + 1), buffer.readUInt32BE(start + 5)];
        if (xid === subxid) this.#forget(xid);
        else this.#spools.get(xid)?.rollBack(subxid, xid);
        return 'kept';
      }
      default:
        return null;
    }
  }

  /** Forgets all of them. */
  close(): void {
    for (const xid of this.#spools.keys()) this.#forget(xid);
    this.#current = null;
  }

  #keep(
    { xid, spool }: { readonly xid: number; readonly spool: Spool },
    kind: number,
    buffer: Buffer,
    start: number,
    end: number,
  ): void {
    if (kind === STREAM_STOP) {
      this.#current = null;
      return;
    }
    const before = spool.bytes;
    if (kind === ORIGIN) spool.add(xid, kind, buffer, start + 1, end);
    else {
      if (end < start + 5)
        throw new RangeError('a message of a transaction in progress that ends before its number');
      spool.add(buffer.readUInt32BE(start + 1), kind, buffer, start + 5, end);
    }
    this.#keptBytes += spool.bytes - before;
    if (this.#keptBytes > this.#options.maxBytes)
      this.#options.onFailure(new SpoolFullError(this.#options.maxBytes));
  }

  #spoolOf(xid: number, isFirst: boolean): Spool {
    const known = this.#spools.get(xid);
    if (known !== undefined && !isFirst) return known;
    if (known !== undefined) this.#forget(xid);
    const onWaiting = (bytes: number): void => {
      this.#waitingBytes += bytes;
      if (bytes > 0)
        spool.written.catch((error: unknown) => this.#options.onFailure(spoolFailure(error as Error)));
      const isFull = this.#waitingBytes > MAX_WAITING_BYTES;
      if (isFull === this.#isFull) return;
      this.#isFull = isFull;
      this.#options.onFull(isFull);
    };
    const spool: Spool = new Spool(this.#options.folder, onWaiting, undefined, this.#spare);
    this.#spools.set(xid, spool);
    return spool;
  }

  #commit(buffer: Buffer, start: number): StreamedCommit {
    const xid = buffer.readUInt32BE(start + 1);
    const spool = this.#spools.get(xid);
    if (spool === undefined)
      throw new RangeError(`the commit of transaction ${xid}, of which nothing came before`);
    this.#spools.delete(xid);
    this.#keptBytes -= spool.bytes;
    return {
      xid,
      commitLsn: buffer.readBigUInt64BE(start + 6) as Lsn,
      endLsn: buffer.readBigUInt64BE(start + 14) as Lsn,
      committedAt: buffer.readBigInt64BE(start + 22),
      spool,
    };
  }

  #forget(xid: number): void {
    const spool = this.#spools.get(xid);
    if (spool === undefined) return;
    this.#spools.delete(xid);
    this.#keptBytes -= spool.bytes;
    void spool.close();
  }
}

/** More of transactions in progress came than may be kept here. The source still has all of it. */
export class SpoolFullError extends LockstepError {
  constructor(maxBytes: number) {
    super(
      'CONFIG_INVALID',
      `Raise maxSpoolBytes, or set it to 0 and the source keeps large transactions on its own disk until they commit: those in progress take more than ${maxBytes} bytes.`,
      { retryable: true, details: { maxSpoolBytes: maxBytes } },
    );
  }
}

/** What a failure of the disk is told as; room may be made meanwhile. */
export function spoolFailure(error: Error): LockstepError {
  return new LockstepError(
    'CONFIG_INVALID',
    `Make room in the folder for temporary files (TMPDIR), or name another one: a large transaction could not be kept there until its commit (${error.message}).`,
    { retryable: true, cause: error },
  );
}
