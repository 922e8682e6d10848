import type { TableShape } from './shape.ts';

const POSTGRES_EPOCH_US = 946_684_800_000_000;
const TIMESTAMPTZ_OID = 1184;
const BYTEA_OID = 17;
const NULL_LENGTH = -1;
const ARRAY_HEADER_BYTES = 20;

/** A key as of keyOf, of a record of the key's columns as record_send gives it. */
export function keyOfRecord(record: Buffer): string {
  const parts: Buffer[] = [];
  for (let at = 4; at < record.length;) {
    const length = record.readInt32BE(at + 4);
    parts.push(record.subarray(at + 4, at + 8 + length));
    at += 8 + length;
  }
  return Buffer.concat(parts).toString('latin1');
}

/** The key's values again, by the shape's order of the key. */
export function splitKey(key: string): Buffer[] {
  const bytes = Buffer.from(key, 'latin1');
  const values: Buffer[] = [];
  for (let at = 0; at < bytes.length;) {
    const length = bytes.readInt32BE(at);
    values.push(bytes.subarray(at + 4, at + 4 + length));
    at += 4 + length;
  }
  return values;
}

/** A row in the binary format of the table's own row type, ready to be an element of an array. */
export function encodeRow(shape: TableShape, valueAt: (position: number) => Buffer | null): Buffer {
  const values = shape.columns.map((_, position) => valueAt(position));
  const size = values.reduce((sum, value) => sum + 8 + (value?.length ?? 0), 4);
  const row = Buffer.allocUnsafe(size);
  row.writeInt32BE(values.length, 0);
  let at = 4;
  values.forEach((value, position) => {
    row.writeUInt32BE(shape.columns[position]?.typeOid ?? 0, at);
    row.writeInt32BE(value?.length ?? NULL_LENGTH, at + 4);
    value?.copy(row, at + 8);
    at += 8 + (value?.length ?? 0);
  });
  return row;
}

/** A row with its key alone. */
export function encodeKeyRow(shape: TableShape, key: string): Buffer {
  const values = splitKey(key);
  return encodeRow(shape, (position) => values[shape.key.indexOf(position)] ?? null);
}

/** Source: array_recv in PostgreSQL's arrayfuncs.c. */
export function encodeArray(elementOid: number, elements: readonly (Buffer | null)[]): Buffer {
  const size = elements.reduce((sum, element) => sum + 4 + (element?.length ?? 0), ARRAY_HEADER_BYTES);
  const array = Buffer.allocUnsafe(size);
  array.writeInt32BE(elements.length === 0 ? 0 : 1, 0);
  array.writeInt32BE(elements.includes(null) ? 1 : 0, 4);
  array.writeUInt32BE(elementOid, 8);
  if (elements.length === 0) return array.subarray(0, 12);
  array.writeInt32BE(elements.length, 12);
  array.writeInt32BE(1, 16);
  let at = ARRAY_HEADER_BYTES;
  for (const element of elements) {
    array.writeInt32BE(element?.length ?? NULL_LENGTH, at);
    element?.copy(array, at + 4);
    at += 4 + (element?.length ?? 0);
  }
  return array;
}

/** An array of values of one length, each put where it belongs by `write`. */
export function encodeFixed(
  elementOid: number,
  bytes: number,
  count: number,
  write: (array: Buffer, at: number, index: number) => void,
): Buffer {
  const array = Buffer.allocUnsafe(count === 0 ? 12 : ARRAY_HEADER_BYTES + count * (4 + bytes));
  array.writeInt32BE(count === 0 ? 0 : 1, 0);
  array.writeInt32BE(0, 4);
  array.writeUInt32BE(elementOid, 8);
  if (count === 0) return array;
  array.writeInt32BE(count, 12);
  array.writeInt32BE(1, 16);
  for (let index = 0, at = ARRAY_HEADER_BYTES; index < count; index++, at += 4 + bytes) {
    array.writeInt32BE(bytes, at);
    write(array, at + 4, index);
  }
  return array;
}

export function encodeRows(shape: TableShape, rows: readonly Buffer[]): Buffer {
  return encodeArray(shape.rowTypeOid, rows);
}

export function encodeTimes(timesUs: readonly number[]): Buffer {
  return encodeFixed(TIMESTAMPTZ_OID, 8, timesUs.length, (array, at, index) =>
    array.writeBigInt64BE(BigInt((timesUs[index] ?? 0) - POSTGRES_EPOCH_US), at),
  );
}

export function encodeKeys(keys: readonly string[]): Buffer {
  return encodeArray(
    BYTEA_OID,
    keys.map((key) => Buffer.from(key, 'latin1')),
  );
}
