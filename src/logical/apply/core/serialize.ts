import type { Lsn } from '../../../model/lsn.ts';
import { Assembler } from '../../core/assembler.ts';
import type { Change, TransactionPart } from '../../core/change.ts';
import type { ParseText, Relation } from '../../core/relation.ts';
import type { PendingTransaction } from './pending.ts';

const POSTGRES_EPOCH_MICROS = 946_684_800_000_000n;
/** Before a row: the kind of change, the relation, the kind of row. */
const ROW_PREFIX_BYTES = 6;
const IDENTITIES = { default: 'd', nothing: 'n', full: 'f', index: 'i' } as const;

/** A transaction in the format in which it came, to be kept. */
export function encodeTransaction(transaction: PendingTransaction): Buffer {
  const messages: Buffer[] = [begin(transaction)];
  const described = new Set<Relation>();
  for (const change of transaction.changes) {
    if (change.kind === 'message') continue;
    for (const relation of change.kind === 'truncate' ? change.relations : [change.relation]) {
      if (!described.has(relation)) messages.push(describe(relation));
      described.add(relation);
    }
    messages.push(encodeChange(change));
  }
  messages.push(commit(transaction));
  return Buffer.concat(messages.flatMap((message) => [int32(message.length), message]));
}

/** Reads what {@link encodeTransaction} wrote. Throws RangeError for anything else. */
export function decodeTransaction(bytes: Buffer, parseText: ParseText): TransactionPart {
  const assembler = new Assembler({ parseText, partBytes: Infinity, dropsForeignOrigins: false });
  for (let at = 0; at < bytes.length;) {
    const end = at + 4 + bytes.readUInt32BE(at);
    const part = assembler.push(bytes, at + 4, end);
    if (part !== null) return part;
    at = end;
  }
  throw new RangeError('a kept transaction without an end');
}

function begin({ xid, commitLsn, committedAtMicros }: PendingTransaction): Buffer {
  return Buffer.concat([
    Buffer.from('B'),
    int64(commitLsn),
    int64(committedAtMicros - POSTGRES_EPOCH_MICROS),
    int32(xid),
  ]);
}

function commit({ commitLsn, endLsn, committedAtMicros }: PendingTransaction): Buffer {
  return Buffer.concat([
    Buffer.from('C\0'),
    int64(commitLsn),
    int64(endLsn as bigint as Lsn),
    int64(committedAtMicros - POSTGRES_EPOCH_MICROS),
  ]);
}

function encodeChange(change: Exclude<Change, { readonly kind: 'message' }>): Buffer {
  if (change.kind !== 'truncate') {
    const row = change.oldAt >= 0 ? change.oldAt : change.newAt;
    return change.buffer.subarray(row - ROW_PREFIX_BYTES, change.end);
  }
  const options = (change.isCascading ? 1 : 0) | (change.restartsIdentity ? 2 : 0);
  const oids = change.relations.map(({ oid }) => int32(oid));
  return Buffer.concat([Buffer.from('T'), int32(oids.length), Buffer.from([options]), ...oids]);
}

function describe({ oid, schema, name, replicaIdentity, columns }: Relation): Buffer {
  const count = Buffer.alloc(2);
  count.writeUInt16BE(columns.length);
  return Buffer.concat([
    Buffer.from('R'),
    int32(oid),
    Buffer.from(`${schema}\0${name}\0${IDENTITIES[replicaIdentity]}`),
    count,
    ...columns.flatMap((column) => [
      Buffer.from(`${column.isKey ? '\x01' : '\0'}${column.name}\0`),
      int32(column.typeOid),
      int32(column.typeModifier),
    ]),
  ]);
}

function int32(value: number): Buffer {
  const bytes = Buffer.allocUnsafe(4);
  bytes.writeInt32BE(value | 0);
  return bytes;
}

function int64(value: bigint): Buffer {
  const bytes = Buffer.allocUnsafe(8);
  bytes.writeBigInt64BE(BigInt.asIntN(64, value));
  return bytes;
}
