import type { Relation } from '../../logical/core/relation.ts';
import {
  BINARY_FIELD,
  firstField,
  nextField,
  TEXT_FIELD,
  UNCHANGED_FIELD,
} from '../../logical/core/tuple.ts';
import { LockstepError } from '../../model/errors.ts';
import type { TableShape } from './shape.ts';

/** Where each column of this region's table is among the columns that a publisher sends; -1 where it is not. */
export type ColumnMap = readonly number[];

/** A row as it was sent, in the bytes that it came in: nothing is copied before its place in what goes out is known. */
export interface SentRow {
  readonly buffer: Buffer;
  /** Where each value begins, by the publisher's order: at the byte that says of which kind it is. */
  readonly starts: readonly number[];
  /** The row before it, which has what was left out as unchanged; null where that was not sent whole. */
  readonly before: SentRow | null;
}

const NULL_LENGTH = -1;
/** Below it, a loop copies faster than a call. */
const SHORT_BYTES = 48;

/** Throws CONFIG_INVALID when a column that is stored on one side is not there on the other. */
export function mapColumns(shape: TableShape, relation: Relation): ColumnMap {
  const map = shape.columns.map(({ name }) => relation.columns.findIndex((column) => column.name === name));
  const missing = shape.columns.filter(({ isGenerated }, index) => !isGenerated && map[index] === -1);
  const extra = relation.columns.filter(({ name }) => shape.columns.every((column) => column.name !== name));
  if (missing.length === 0 && extra.length === 0) return map;
  const said = [
    ...missing.map(({ name }) => `${name} is missing there`),
    ...extra.map(({ name }) => `${name} is missing here`),
  ];
  throw new LockstepError(
    'CONFIG_INVALID',
    `${shape.name} differs between the regions: ${said.join(', ')}. Bring the schemas together; its changes wait.`,
    { details: { table: shape.name } },
  );
}

export function readSent(
  relation: Relation,
  buffer: Buffer,
  at: number,
  before: SentRow | null = null,
): SentRow {
  const starts: number[] = [];
  let field = firstField(at);
  for (let index = relation.columns.length; index > 0; index--) {
    starts.push(field);
    field = nextField(buffer, field);
  }
  return { buffer, starts, before };
}

/** The row that has the value of this index: the one before, where this one left it out. */
function holderOf(row: SentRow, index: number): SentRow {
  const isLeftOut = row.buffer[row.starts[index] as number] === UNCHANGED_FIELD;
  return isLeftOut && row.before !== null ? row.before : row;
}

function isValue(kind: number | undefined): boolean {
  return kind === BINARY_FIELD || kind === TEXT_FIELD;
}

/** The primary key's bytes, each value with its length before it, as a string of single bytes. */
export function keyOf(shape: TableShape, map: ColumnMap, row: SentRow): string {
  let key = '';
  for (const position of shape.key) {
    const index = map[position] ?? -1;
    const { buffer, starts } = holderOf(row, index);
    const start = starts[index] ?? -1;
    if (!isValue(buffer[start])) throw new RangeError(`a row of ${shape.name} came without its key`);
    key += buffer.toString('latin1', start + 1, start + 5 + buffer.readUInt32BE(start + 1));
  }
  return key;
}

/** The row in the binary format of the table's own row type, as of encodeRow. Throws CONFIG_INVALID where a value was left out. */
export function encodeSent(shape: TableShape, map: ColumnMap, row: SentRow): Buffer {
  const { columns } = shape;
  let size = 4;
  for (let position = 0; position < columns.length; position++)
    size += 8 + Math.max(0, lengthAt(shape, map, row, position));
  const encoded = Buffer.allocUnsafe(size);
  encoded.writeInt32BE(columns.length, 0);
  let at = 4;
  for (let position = 0; position < columns.length; position++) {
    const length = lengthAt(shape, map, row, position);
    encoded.writeUInt32BE(columns[position]?.typeOid ?? 0, at);
    encoded.writeInt32BE(length, at + 4);
    at += 8;
    if (length <= 0) continue;
    const index = map[position] as number;
    const { buffer, starts } = holderOf(row, index);
    copyBytes(buffer, (starts[index] as number) + 5, length, encoded, at);
    at += length;
  }
  return encoded;
}

function copyBytes(from: Buffer, start: number, length: number, to: Buffer, at: number): void {
  if (length < SHORT_BYTES)
    for (let index = 0; index < length; index++) to[at + index] = from[start + index] as number;
  else from.copy(to, at, start, start + length);
}

/** How many bytes a column's value has; -1 of NULL, and of what the publisher does not send. */
function lengthAt(shape: TableShape, map: ColumnMap, row: SentRow, position: number): number {
  const index = map[position] ?? -1;
  if (index === -1) return NULL_LENGTH;
  const { buffer, starts } = holderOf(row, index);
  const start = starts[index] as number;
  const kind = buffer[start];
  if (isValue(kind)) return buffer.readUInt32BE(start + 1);
  if (kind !== UNCHANGED_FIELD) return NULL_LENGTH;
  throw new LockstepError(
    'CONFIG_INVALID',
    `${shape.name}.${shape.columns[position]?.name} is large and was not sent, because the update did not touch it. Run ALTER TABLE ${shape.name} REPLICA IDENTITY FULL in every region.`,
    { details: { table: shape.name } },
  );
}
