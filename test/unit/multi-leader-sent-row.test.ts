import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Relation } from '../../src/logical/core/relation.ts';
import { encodeRow, keyOfRecord } from '../../src/multi-leader/tables/row-codec.ts';
import { encodeSent, keyOf, mapColumns, readSent } from '../../src/multi-leader/tables/sent-row.ts';
import type { TableShape } from '../../src/multi-leader/tables/shape.ts';

const NAMES = ['id', 'note', 'place', 'sum'];
const shape: TableShape = {
  schema: 'public',
  table: 't',
  name: 'public.t',
  rowTypeOid: 1,
  columns: NAMES.map((name) => ({ name, typeOid: 25, typeName: 'text', isGenerated: name === 'sum' })),
  key: [2, 0],
  unique: [],
  uniqueOperators: [],
  writeAs: null,
  priority: null,
  resolves: false,
  held: [],
  references: [],
  parentOf: 'none',
  merge: null,
};
/** The publisher has the columns in another order, and does not send the generated one. */
const relation: Relation = {
  oid: 1,
  schema: 'public',
  name: 't',
  replicaIdentity: 'default',
  columns: ['place', 'id', 'note'].map((name) => ({ name, typeOid: 25, typeModifier: -1, isKey: true })),
};

/** Null is NULL, and undefined was left out as unchanged. */
type Value = Buffer | null | undefined;

/** As pgoutput sends it, behind something else. */
function send(values: readonly Value[]): { readonly buffer: Buffer; readonly at: number } {
  const count = Buffer.alloc(2);
  count.writeUInt16BE(values.length);
  const fields = values.map((value) => {
    if (value == null) return Buffer.from(value === null ? 'n' : 'u');
    const head = Buffer.alloc(5);
    head.write('b');
    head.writeUInt32BE(value.length, 1);
    return Buffer.concat([head, value]);
  });
  return { buffer: Buffer.concat([Buffer.from('before'), count, ...fields]), at: 6 };
}

function read(values: readonly Value[], before: readonly Value[] | null = null) {
  const [now, old] = [send(values), before === null ? null : send(before)];
  return readSent(relation, now.buffer, now.at, old === null ? null : readSent(relation, old.buffer, old.at));
}

describe('a row as it was sent', () => {
  const map = mapColumns(shape, relation);
  const bytes = fc.uint8Array({ maxLength: 120 }).map((array) => Buffer.from(array));
  const wanted = (place: Buffer, id: Buffer, note: Buffer | null): Buffer =>
    encodeRow(shape, (position) => [id, note, place, null][position] ?? null);

  it("is the row of this region's table, with the key that a record of it has", () => {
    fc.assert(
      fc.property(bytes, bytes, fc.option(bytes), (place, id, note) => {
        const row = read([place, id, note]);
        expect(encodeSent(shape, map, row)).toEqual(wanted(place, id, note));
        const keyShape = {
          ...shape,
          columns: shape.key.map((position) => shape.columns[position] ?? shape.columns[0]),
        };
        const record = encodeRow(keyShape as TableShape, (position) => [place, id][position] ?? null);
        expect(keyOf(shape, map, row)).toBe(keyOfRecord(record));
      }),
    );
  });

  it('has what was left out from the row before it, where that is whole', () => {
    const [place, id, note] = [Buffer.from('here'), Buffer.from('7'), Buffer.alloc(5_000, 'x')];
    const row = read([place, undefined, undefined], [Buffer.from('there'), id, note]);
    expect(encodeSent(shape, map, row)).toEqual(wanted(place, id, note));
    expect(keyOf(shape, map, row)).toBe(keyOf(shape, map, read([place, id, null])));
  });

  it('is refused with a sentence where a value was left out, and not sent before', () => {
    const row = read([Buffer.from('here'), Buffer.from('7'), undefined]);
    expect(() => encodeSent(shape, map, row)).toThrow(/public\.t\.note is large and was not sent/);
    expect(() => keyOf(shape, map, read([null, Buffer.from('7'), null]))).toThrow(/without its key/);
  });
});
