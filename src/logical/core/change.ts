import type { Lsn } from '../../model/lsn.ts';
import type { ParseText, Relation } from './relation.ts';
import { readRow } from './tuple.ts';
import type { Row } from './tuple.ts';

/**
 * One row that was inserted, updated or deleted. Its values lie undecoded in `buffer`, as PostgreSQL sent them;
 * `readField` of tuple.ts walks over them.
 */
export class RowChange {
  readonly kind: 'insert' | 'update' | 'delete';
  readonly relation: Relation;
  readonly buffer: Buffer;
  /** Where the old row begins; -1 where none was sent. */
  readonly oldAt: number;
  /** Whether the old row has all columns (REPLICA IDENTITY FULL) or only those of the identity. */
  readonly isOldFull: boolean;
  /** Where the new row begins; -1 for a delete. */
  readonly newAt: number;
  readonly end: number;
  readonly #parse: ParseText;

  constructor(
    kind: 'insert' | 'update' | 'delete',
    relation: Relation,
    buffer: Buffer,
    oldAt: number,
    isOldFull: boolean,
    newAt: number,
    end: number,
    parse: ParseText,
  ) {
    this.kind = kind;
    this.relation = relation;
    this.buffer = buffer;
    this.oldAt = oldAt;
    this.isOldFull = isOldFull;
    this.newAt = newAt;
    this.end = end;
    this.#parse = parse;
  }

  /**
   * The row after the change, by column name; null for a delete. A large value that the update did not touch is
   * not sent by PostgreSQL ("unchanged TOAST") and its name is missing here. In binary format values are bytes.
   */
  row(): Row | null {
    return this.newAt < 0 ? null : readRow(this.relation, this.buffer, this.newAt, this.#parse, false);
  }

  /**
   * The row before the change, as far as it was sent: all columns with REPLICA IDENTITY FULL; else the identity's
   * columns, for a delete and for an update that changed one of them; else null.
   */
  oldRow(): Row | null {
    return this.oldAt < 0
      ? null
      : readRow(this.relation, this.buffer, this.oldAt, this.#parse, !this.isOldFull);
  }
}

/** Tables that were emptied by one TRUNCATE. */
export interface TruncateChange {
  readonly kind: 'truncate';
  readonly relations: readonly Relation[];
  readonly isCascading: boolean;
  readonly restartsIdentity: boolean;
}

/** What `pg_logical_emit_message(true, prefix, content)` wrote within the transaction. */
export interface MessageChange {
  readonly kind: 'message';
  readonly prefix: string;
  readonly content: Buffer;
}

export type Change = RowChange | TruncateChange | MessageChange;

/** Where a transaction came from, when an applier had written it. Source: "Replication Progress Tracking". */
export interface TransactionOrigin {
  readonly name: string;
  /** The position in the origin's own log. */
  readonly lsn: Lsn;
}

/** What is known of a committed transaction before its changes. */
export interface TransactionHead {
  readonly xid: number;
  /** Where its commit record begins. */
  readonly commitLsn: Lsn;
  /** Microseconds since 1970, by the publishing server's clock. */
  readonly committedAtMicros: bigint;
  /** Null when a session without a replication origin wrote it. */
  readonly origin: TransactionOrigin | null;
}

/**
 * A committed transaction, or a stretch of a large one, in the order of its changes. Small transactions are one
 * part that is first and last. Parts of two transactions never mix.
 */
export interface TransactionPart extends TransactionHead {
  readonly changes: readonly Change[];
  readonly isFirst: boolean;
  readonly isLast: boolean;
  /** Where its commit record ends, for the last part; 0 for the others. */
  readonly endLsn: Lsn;
  /** As received. */
  readonly byteLength: number;
}
