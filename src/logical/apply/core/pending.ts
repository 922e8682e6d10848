import type { Change, TransactionPart } from '../../core/change.ts';
import type { Lsn } from '../../../model/lsn.ts';

/** A whole source transaction, as far as it concerns the target. */
export interface PendingTransaction {
  readonly xid: number;
  readonly commitLsn: Lsn;
  readonly endLsn: Lsn;
  readonly committedAtMicros: bigint;
  readonly changes: readonly Change[];
}

/** Source transactions that become one transaction of the target. */
export class Batch {
  readonly transactions: PendingTransaction[] = [];
  rows = 0;
  bytes = 0;

  add(part: TransactionPart, changes: readonly Change[]): void {
    const { xid, commitLsn, endLsn, committedAtMicros } = part;
    this.transactions.push({ xid, commitLsn, endLsn, committedAtMicros, changes });
    this.rows += changes.length;
    this.bytes += part.byteLength;
  }

  get isEmpty(): boolean {
    return this.transactions.length === 0;
  }

  *changes(): Generator<Change, void, undefined> {
    for (const { changes } of this.transactions) yield* changes;
  }
}

/** When a batch goes out, and when it waits for more. */
export interface FlushRule {
  readonly maxRows: number;
  readonly maxBytes: number;
  readonly lingerMs: number;
  readonly maxInFlight: number;
  readonly maxInFlightBytes: number;
}

/**
 * Whether to send now: at once while nothing is on its way; a full batch; or one that has waited. While something
 * is on its way a short wait makes fewer and larger batches, which is what makes applying fast, and a far target
 * gets the next one long before it has answered the last.
 */
export function decideFlush(
  rule: FlushRule,
  now: {
    readonly rows: number;
    readonly bytes: number;
    readonly ageMs: number;
    readonly inFlight: number;
    readonly inFlightBytes: number;
  },
): 'send' | 'wait' {
  if (now.inFlight === 0) return 'send';
  if (now.inFlight >= rule.maxInFlight || now.inFlightBytes >= rule.maxInFlightBytes) return 'wait';
  const isFull = now.rows >= rule.maxRows || now.bytes >= rule.maxBytes;
  return isFull || now.ageMs >= rule.lingerMs ? 'send' : 'wait';
}
