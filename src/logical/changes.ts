import type { Lsn } from '../model/lsn.ts';
import { ChangeStream } from './change-stream.ts';
import type { ChangeStreamOptions } from './change-stream.ts';
import type { Change, TransactionHead, TransactionPart } from './core/change.ts';

export interface ChangesOptions extends Omit<ChangeStreamOptions, 'streamsLarge'> {
  /**
   * Gives a transaction of more than 256 kB in several pieces, so that no transaction is too large for the memory.
   * Default false: each is given whole.
   */
  readonly splitsLarge?: boolean;
}

/** One committed transaction of the source. */
export interface Transaction extends TransactionHead {
  /** Where its commit record ends: the position to go on from when it is done with. 0 for a piece but the last. */
  readonly endLsn: Lsn;
  readonly committedAt: Date;
  readonly changes: readonly Change[];
  /** With `splitsLarge`: whether this is a transaction's first piece, and its last. Else both are true. */
  readonly isFirst: boolean;
  readonly isLast: boolean;
  /**
   * Says that this transaction and all before it are durable with you. The server keeps everything from the
   * first transaction on that was not acknowledged, and sends it again after a restart. Of a transaction in pieces
   * only the last one's does anything: it is sent again whole.
   */
  acknowledge(): void;
}

/**
 * The changes of a PostgreSQL (15 to 18) as its transactions commit, in commit order, each at least once: after a
 * crash it goes on behind the last transaction that you acknowledged. Keep `endLsn` in the same transaction as
 * your own writes and pass it as `startLsn`, and each arrives exactly once.
 *
 * ```ts
 * for await (const transaction of changes({ from: url, slot: 'search', publications: ['orders'] })) {
 *   for (const change of transaction.changes) if (change.kind === 'insert') await index(change.row());
 *   transaction.acknowledge();
 * }
 * ```
 *
 * Ends when the signal aborts; throws NO_LEADER, CONFIG_INVALID, POSTGRES_FAILED (retryable when the connection
 * was lost) and PostgreSQL's own errors. While you do not ask for the next transaction, reading pauses. The slot
 * and the publication must exist: `createSlot` makes the one, CREATE PUBLICATION the other.
 */
export async function* changes(options: ChangesOptions): AsyncGenerator<Transaction, void, undefined> {
  const stream = await ChangeStream.open({ ...options, streamsLarge: true });
  try {
    let open: TransactionPart[] = [];
    for (;;) {
      const parts = await stream.take();
      if (parts.length === 0) return;
      for (const part of parts) {
        open.push(part);
        if (!part.isLast && options.splitsLarge !== true) continue;
        yield joinParts(open, part, stream);
        open = [];
      }
    }
  } finally {
    stream.close();
  }
}

function joinParts(
  parts: readonly TransactionPart[],
  last: TransactionPart,
  stream: ChangeStream,
): Transaction {
  const { xid, commitLsn, committedAtMicros, origin, endLsn, isLast } = last;
  return {
    xid,
    commitLsn,
    endLsn,
    committedAtMicros,
    committedAt: new Date(Number(committedAtMicros / 1_000n)),
    origin,
    changes: parts.length === 1 ? last.changes : parts.flatMap((part) => part.changes),
    isFirst: parts[0]?.isFirst ?? true,
    isLast,
    acknowledge: () => {
      if (isLast) stream.acknowledge(endLsn);
    },
  };
}
