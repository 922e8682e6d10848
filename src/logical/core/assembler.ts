import type { Lsn } from '../../model/lsn.ts';
import { RowChange } from './change.ts';
import type { Change, TransactionHead, TransactionPart } from './change.ts';
import type { ParseText, Relation, RelationColumn, ReplicaIdentity } from './relation.ts';
import { endOfTuple } from './tuple.ts';

/** PostgreSQL counts microseconds since 2000-01-01. */
const POSTGRES_EPOCH_MICROS = 946_684_800_000_000n;
const BEGIN = 0x42;
const COMMIT = 0x43;
const ORIGIN = 0x4f;
const RELATION = 0x52;
const TYPE = 0x59;
const INSERT = 0x49;
const UPDATE = 0x55;
const DELETE = 0x44;
const TRUNCATE = 0x54;
const MESSAGE = 0x4d;
const KEY_TUPLE = 0x4b;
const OLD_TUPLE = 0x4f;
const NEW_TUPLE = 0x4e;
const MAX_PREFIX_BYTES = 65_536;
const IDENTITIES: Readonly<Record<string, ReplicaIdentity>> = {
  d: 'default',
  n: 'nothing',
  f: 'full',
  i: 'index',
};

export interface AssemblerOptions {
  readonly parseText: ParseText;
  /** A transaction of more bytes comes in several parts. */
  readonly partBytes: number;
  /** Leaves out what an applier wrote. The server does so itself from PostgreSQL 16 on. */
  readonly dropsForeignOrigins: boolean;
}

/**
 * Puts pgoutput's messages together to transactions. Messages of transactions in progress ("streamed") must have
 * been put aside until their commit. Source: PostgreSQL documentation, "Logical Replication Message Formats".
 */
export class Assembler {
  readonly #options: AssemblerOptions;
  readonly #relations = new Map<number, Relation>();
  #head: { -readonly [Name in keyof TransactionHead]: TransactionHead[Name] } | null = null;
  #changes: Change[] = [];
  #bytes = 0;
  #isFirst = true;

  constructor(options: AssemblerOptions) {
    this.#options = options;
  }

  /** Whether a transaction has begun and not ended. */
  get isInTransaction(): boolean {
    return this.#head !== null;
  }

  /** Whether a transaction has begun and not ended of which a part was given. */
  get isInLarge(): boolean {
    return this.#head !== null && !this.#isFirst;
  }

  /** Takes one message; gives a part when one is complete. Throws RangeError for what no server sends. */
  push(buffer: Buffer, start: number, end: number): TransactionPart | null {
    switch (buffer[start] as number) {
      case INSERT:
        return this.#add(this.#readInsert(buffer, start + 1, end), end - start);
      case UPDATE:
        return this.#add(this.#readUpdate(buffer, start + 1, end), end - start);
      case DELETE:
        return this.#add(this.#readDelete(buffer, start + 1, end), end - start);
      case BEGIN:
        this.begin(
          buffer.readInt32BE(start + 17) >>> 0,
          buffer.readBigUInt64BE(start + 1) as Lsn,
          buffer.readBigInt64BE(start + 9),
        );
        return null;
      case COMMIT:
        return this.commit(buffer.readBigUInt64BE(start + 10) as Lsn);
      case RELATION:
        this.#readRelation(buffer, start + 1, end);
        return null;
      case ORIGIN:
        if (this.#head !== null) {
          this.#head.origin = {
            lsn: buffer.readBigUInt64BE(start + 1) as Lsn,
            name: readName(buffer, start + 9, end).text,
          };
        }
        return null;
      case TRUNCATE:
        return this.#add(this.#readTruncate(buffer, start + 1), end - start);
      case MESSAGE:
        return this.#readMessage(buffer, start + 1, end);
      case TYPE:
        return null;
      default:
        throw new RangeError(`a message of unknown kind ${String(buffer[start])}`);
    }
  }

  /** A transaction begins; `committedAt` in the server's own count. */
  begin(xid: number, commitLsn: Lsn, committedAt: bigint): void {
    this.#head = { xid, commitLsn, committedAtMicros: committedAt + POSTGRES_EPOCH_MICROS, origin: null };
    this.#changes = [];
    this.#bytes = 0;
    this.#isFirst = true;
  }

  /** The transaction ends. Null when it is one that is left out. */
  commit(endLsn: Lsn): TransactionPart | null {
    const part = this.#part(true, endLsn);
    this.#head = null;
    return part;
  }

  #add(change: Change, bytes: number): TransactionPart | null {
    if (this.#isLeftOut()) return null;
    this.#changes.push(change);
    this.#bytes += bytes;
    return this.#bytes >= this.#options.partBytes ? this.#part(false, 0n as Lsn) : null;
  }

  #isLeftOut(): boolean {
    return this.#options.dropsForeignOrigins && this.#head !== null && this.#head.origin !== null;
  }

  #part(isLast: boolean, endLsn: Lsn): TransactionPart | null {
    const head = this.#head;
    if (head === null) throw new RangeError('a commit without a begin');
    if (this.#isLeftOut()) return null;
    const part: TransactionPart = {
      xid: head.xid,
      commitLsn: head.commitLsn,
      committedAtMicros: head.committedAtMicros,
      origin: head.origin,
      changes: this.#changes,
      isFirst: this.#isFirst,
      isLast,
      endLsn,
      byteLength: this.#bytes,
    };
    this.#changes = [];
    this.#bytes = 0;
    this.#isFirst = false;
    return part;
  }

  #relation(oid: number): Relation {
    const relation = this.#relations.get(oid);
    if (relation === undefined) throw new RangeError(`a change of relation ${oid}, which was not described`);
    return relation;
  }

  #readInsert(buffer: Buffer, at: number, end: number): RowChange {
    const relation = this.#relation(buffer.readUInt32BE(at));
    expect(buffer, at + 4, NEW_TUPLE);
    checkTuple(relation, buffer, at + 5, end);
    return new RowChange('insert', relation, buffer, -1, false, at + 5, end, this.#options.parseText);
  }

  #readUpdate(buffer: Buffer, at: number, end: number): RowChange {
    const relation = this.#relation(buffer.readUInt32BE(at));
    const kind = buffer[at + 4];
    let oldAt = -1;
    let newAt = at + 4;
    if (kind === KEY_TUPLE || kind === OLD_TUPLE) {
      oldAt = at + 5;
      newAt = checkTuple(relation, buffer, oldAt, end);
    }
    expect(buffer, newAt, NEW_TUPLE);
    newAt++;
    checkTuple(relation, buffer, newAt, end);
    const { parseText } = this.#options;
    return new RowChange('update', relation, buffer, oldAt, kind === OLD_TUPLE, newAt, end, parseText);
  }

  #readDelete(buffer: Buffer, at: number, end: number): RowChange {
    const relation = this.#relation(buffer.readUInt32BE(at));
    const isFull = buffer[at + 4] === OLD_TUPLE;
    if (!isFull) expect(buffer, at + 4, KEY_TUPLE);
    checkTuple(relation, buffer, at + 5, end);
    return new RowChange('delete', relation, buffer, at + 5, isFull, -1, end, this.#options.parseText);
  }

  #readTruncate(buffer: Buffer, at: number): Change {
    const count = buffer.readUInt32BE(at);
    const options = buffer[at + 4] as number;
    const relations: Relation[] = [];
    for (let index = 0; index < count; index++)
      relations.push(this.#relation(buffer.readUInt32BE(at + 5 + index * 4)));
    return {
      kind: 'truncate',
      relations,
      isCascading: (options & 1) !== 0,
      restartsIdentity: (options & 2) !== 0,
    };
  }

  #readMessage(buffer: Buffer, at: number, end: number): TransactionPart | null {
    // Those outside of a transaction belong to no position that could be acknowledged.
    if (this.#head === null || ((buffer[at] as number) & 1) === 0) return null;
    // Whoever may connect may write a prefix of more bytes than a string holds.
    const stop = buffer.indexOf(0, at + 9);
    if (stop - at - 9 > MAX_PREFIX_BYTES) return null;
    const prefix = readName(buffer, at + 9, end);
    const length = buffer.readUInt32BE(prefix.next);
    const content = buffer.subarray(prefix.next + 4, prefix.next + 4 + length);
    return this.#add({ kind: 'message', prefix: prefix.text, content }, end - at);
  }

  #readRelation(buffer: Buffer, at: number, end: number): void {
    const oid = buffer.readUInt32BE(at);
    const schema = readName(buffer, at + 4, end);
    const name = readName(buffer, schema.next, end);
    const identity = IDENTITIES[String.fromCharCode(buffer[name.next] as number)];
    if (identity === undefined) throw new RangeError('a replica identity of unknown kind');
    const count = buffer.readUInt16BE(name.next + 1);
    const columns: RelationColumn[] = [];
    let next = name.next + 3;
    for (let index = 0; index < count; index++) {
      const column = readName(buffer, next + 1, end);
      columns.push({
        name: column.text,
        isKey: ((buffer[next] as number) & 1) !== 0,
        typeOid: buffer.readUInt32BE(column.next),
        typeModifier: buffer.readInt32BE(column.next + 4),
      });
      next = column.next + 8;
    }
    const relation: Relation = {
      oid,
      // An empty name stands for pg_catalog.
      schema: schema.text === '' ? 'pg_catalog' : schema.text,
      name: name.text,
      replicaIdentity: identity,
      columns,
    };
    // It is sent again after a TRUNCATE, for one, and then is the same table still.
    const known = this.#relations.get(oid);
    if (known === undefined || !isSameRelation(known, relation)) this.#relations.set(oid, relation);
  }
}

function expect(buffer: Buffer, at: number, kind: number): void {
  if (buffer[at] !== kind) throw new RangeError(`a row of unknown kind ${String(buffer[at])}`);
}

function checkTuple(relation: Relation, buffer: Buffer, at: number, end: number): number {
  const count = buffer.readUInt16BE(at);
  if (count !== relation.columns.length) {
    throw new RangeError(`a row of ${count} values for the ${relation.columns.length} columns of a table`);
  }
  return endOfTuple(buffer, at, end);
}

function readName(buffer: Buffer, at: number, end: number): { readonly text: string; readonly next: number } {
  const stop = buffer.indexOf(0, at);
  if (stop < 0 || stop >= end) throw new RangeError('a name without an end');
  return { text: buffer.toString('utf8', at, stop), next: stop + 1 };
}

function isSameRelation(a: Relation, b: Relation): boolean {
  return (
    a.schema === b.schema &&
    a.name === b.name &&
    a.replicaIdentity === b.replicaIdentity &&
    a.columns.length === b.columns.length &&
    a.columns.every((column, index) => {
      const other = b.columns[index];
      return (
        column.name === other?.name &&
        column.typeOid === other.typeOid &&
        column.typeModifier === other.typeModifier &&
        column.isKey === other.isKey
      );
    })
  );
}
