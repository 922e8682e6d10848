import type { ParseText, Relation } from './relation.ts';

/** A row by column names. */
export type Row = Record<string, unknown>;

/** What stands before each value of a row. Source: "Logical Replication Message Formats", TupleData. */
export const UNCHANGED_FIELD = 0x75;
export const TEXT_FIELD = 0x74;
export const BINARY_FIELD = 0x62;

/** Where the fields of the row at `at` begin: behind their number. */
export function firstField(at: number): number {
  return at + 2;
}

/** Where the field behind the one at `at` begins. */
export function nextField(buffer: Buffer, at: number): number {
  const kind = buffer[at];
  return kind === BINARY_FIELD || kind === TEXT_FIELD ? at + 5 + buffer.readUInt32BE(at + 1) : at + 1;
}

/** Where the row at `at` ends. Throws RangeError when it does not fit its message. */
export function endOfTuple(buffer: Buffer, at: number, end: number): number {
  const count = buffer.readUInt16BE(at);
  let field = firstField(at);
  for (let index = 0; index < count; index++) field = nextField(buffer, field);
  if (field > end) throw new RangeError(`a row ends ${field - end} bytes behind its message`);
  return field;
}

/** The value at `at` as a view of its bytes; null for NULL and for an unchanged one. */
export function fieldBytes(buffer: Buffer, at: number): Buffer | null {
  const kind = buffer[at];
  if (kind !== BINARY_FIELD && kind !== TEXT_FIELD) return null;
  return buffer.subarray(at + 5, at + 5 + buffer.readUInt32BE(at + 1));
}

/** The row at `at` by names; unchanged values are left out, and of an old key all but the key's columns. */
export function readRow(
  relation: Relation,
  buffer: Buffer,
  at: number,
  parse: ParseText,
  isKeyOnly: boolean,
): Row {
  const row: Row = {};
  let field = firstField(at);
  for (const column of relation.columns) {
    const kind = buffer[field];
    if (kind !== UNCHANGED_FIELD && (!isKeyOnly || column.isKey)) {
      const bytes = fieldBytes(buffer, field);
      row[column.name] =
        bytes !== null && kind === TEXT_FIELD ? parse(column.typeOid, bytes.toString('utf8')) : bytes;
    }
    field = nextField(buffer, field);
  }
  return row;
}
