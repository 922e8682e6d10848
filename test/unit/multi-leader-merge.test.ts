import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { addDifference, compareDecimals } from '../../src/multi-leader/core/decimal.ts';
import { formatArray, formatRecord, parseArray, parseRecord } from '../../src/multi-leader/core/image.ts';
import {
  applyOperation,
  composeOperations,
  findConflicts,
  orderOperations,
  replay,
  settleJournal,
} from '../../src/multi-leader/core/merge.ts';
import type { ColumnRule, Conflict, Operation } from '../../src/multi-leader/core/merge.ts';

const RULES: readonly ColumnRule[] = ['last', 'last', 'counter', 'set', 'max', 'min'];
const ROW = ['a', 'b', '10', '{"x"}', '5', '5'];
const version = (timeUs: number, region = 0) => ({ timeUs, region, lsn: 1n });
const update = (
  timeUs: number,
  row: readonly (string | null)[],
  old: readonly (string | null)[] = ROW,
): Operation => ({
  version: version(timeUs),
  old,
  row,
});

describe('rows as text', () => {
  const value = fc.option(fc.string({ unit: 'binary' }), { nil: null });

  it('come back as they were written', () => {
    fc.assert(
      fc.property(fc.array(value, { minLength: 2 }), (image) => {
        expect(parseRecord(formatRecord(image))).toEqual(image);
      }),
    );
  });

  it('hold arrays that come back too', () => {
    fc.assert(
      fc.property(fc.array(value), (values) => {
        expect(parseArray(formatArray(values))).toEqual(values);
      }),
    );
  });

  it('has the text of arrays that PostgreSQL gives', () => {
    expect(formatArray(['a', 'b c', 'null', null, '', '{x}', 'd"e\\f'])).toBe(
      String.raw`{a,"b c","null",NULL,"","{x}","d\"e\\f"}`,
    );
  });

  it('are read as PostgreSQL writes them', () => {
    expect(parseRecord(String.raw`(1,,"","a ""b"", \\c",{x})`)).toEqual(['1', null, '', 'a "b", \\c', '{x}']);
    expect(parseArray(String.raw`{a,NULL,"NULL","b \"c\" \\"}`)).toEqual(['a', null, 'NULL', 'b "c" \\']);
    expect(parseArray('{}')).toEqual([]);
    expect(() => parseArray('{{1},{2}}')).toThrow(RangeError);
    expect(() => parseRecord('1,2')).toThrow(RangeError);
  });
});

describe('differences of decimals', () => {
  it('are exact', () => {
    expect(addDifference('10.50', '1.1', '1.35')).toBe('10.75');
    expect(addDifference('-1', '3', '0')).toBe('-4');
    expect(addDifference('9007199254740993', '0', '1')).toBe('9007199254740994');
    expect(addDifference('0.05', '0.10', '0')).toBe('-0.05');
    expect(addDifference('NaN', '1', '2')).toBeNull();
  });

  it('of whole numbers are what adding gives', () => {
    fc.assert(
      fc.property(fc.integer(), fc.integer(), fc.integer(), (base, from, to) => {
        expect(addDifference(String(base), String(from), String(to))).toBe(String(base + (to - from)));
      }),
    );
  });

  it('have an order', () => {
    expect(compareDecimals('1.10', '1.1')).toBe(0);
    expect(compareDecimals('-2', '1')).toBe(-1);
    expect(compareDecimals('10', '9.99')).toBe(1);
    expect(compareDecimals('x', '1')).toBeNull();
  });
});

describe('an operation on a row', () => {
  it('changes what its writer changed, and leaves what another changed', () => {
    const here = ['A', 'b', '12', '{"x","y"}', '9', '2'];
    const written = ['a', 'B', '13', '{"z"}', '7', '3'];
    expect(applyOperation(here, update(1, written), RULES)).toEqual(['A', 'B', '15', '{y,z}', '9', '2']);
  });

  it('brings a row back that is gone, and removes and makes rows', () => {
    expect(applyOperation(null, update(1, ['z', 'b', '1', '{}', '0', '0']), RULES)?.[0]).toBe('z');
    expect(applyOperation(ROW, { version: version(1), old: ROW, row: null }, RULES)).toBeNull();
    expect(applyOperation(ROW, { version: version(1), old: null, row: ['n'] }, RULES)).toEqual(['n']);
  });

  it('sets a counter that is NULL', () => {
    const none = ['a', 'b', null, '{}', null, null];
    expect(applyOperation(none, update(1, ['a', 'b', '3', '{}', '4', null], none), RULES)?.[2]).toBe('3');
  });

  it('is one where a transaction made several of it', () => {
    const insert = { version: version(1), old: null, row: ['1'] };
    const change = { version: version(1), old: ['1'], row: ['2'] };
    const remove = { version: version(1), old: ['2'], row: null };
    expect(composeOperations([insert, change])).toEqual({ version: version(1), old: null, row: ['2'] });
    expect(composeOperations([change, remove])).toEqual({ version: version(1), old: ['1'], row: null });
    expect(composeOperations([insert, change, remove])).toBeNull();
  });
});

describe('a journal', () => {
  const operation = fc.record({
    version: fc.record({
      timeUs: fc.integer({ min: 1, max: 30 }),
      region: fc.integer({ min: 0, max: 2 }),
      lsn: fc.constant(1n),
    }),
    old: fc.option(fc.tuple(fc.constantFrom('a', 'b'), fc.constantFrom('1', '2')), { nil: null }),
    row: fc.option(fc.tuple(fc.constantFrom('a', 'b'), fc.constantFrom('1', '2', '3')), { nil: null }),
  });
  const rules: readonly ColumnRule[] = ['last', 'counter'];

  it('gives the same row whatever the order of arrival, and whenever it is folded', () => {
    fc.assert(
      fc.property(fc.array(operation, { maxLength: 8 }), fc.integer({ min: 0, max: 31 }), (all, lowestUs) => {
        const ordered = orderOperations(all);
        const base = ['a', '1'];
        // Of one version only one arrives, whichever way.
        expect(orderOperations(ordered.toReversed())).toEqual(ordered);
        const { base: folded, rest } = settleJournal(base, ordered, lowestUs, rules);
        expect(replay(folded, rest, rules)).toEqual(replay(base, ordered, rules));
      }),
    );
  });

  it('has the same conflicts whenever it is folded', () => {
    fc.assert(
      fc.property(fc.array(operation, { maxLength: 8 }), fc.integer({ min: 0, max: 31 }), (all, lowestUs) => {
        const ordered = orderOperations(all);
        const first = settleJournal(['a', '1'], ordered, lowestUs, rules);
        const second = settleJournal(first.base, first.rest, 100, rules);
        const withoutEarlier = (all: readonly Conflict[]): Conflict[] =>
          all.map((conflict) => ({ ...conflict, earlier: null }));
        const told = withoutEarlier([...first.conflicts, ...second.conflicts]);
        const wanted = withoutEarlier(findConflicts(['a', '1'], ordered, rules));
        expect(told).toEqual(wanted);
      }),
    );
  });

  it('tells what kind of conflict it was, and what came of it', () => {
    const other = ['a', 'X', '10', '{"x"}', '5', '5'];
    const merged = findConflicts(
      ROW,
      [update(1, other), update(2, ['Y', 'b', '10', '{"x"}', '5', '5'])],
      RULES,
    );
    expect(merged).toMatchObject([
      { kind: 'update/update', decision: 'merged', result: ['Y', 'X', '10', '{"x"}', '5', '5'] },
    ]);
    const lost = findConflicts(
      ROW,
      [update(1, other), update(2, ['a', 'Z', '10', '{"x"}', '5', '5'])],
      RULES,
    );
    expect(lost).toMatchObject([{ kind: 'update/update', decision: 'later-wins', earlier: version(1) }]);
    const gone = findConflicts(ROW, [{ version: version(1), old: ROW, row: null }, update(2, other)], RULES);
    expect(gone).toMatchObject([{ kind: 'delete/update', before: null, result: other }]);
    const twice = findConflicts(
      ROW,
      [1, 2].map((at) => ({ version: version(at), old: ROW, row: null })),
      RULES,
    );
    expect(twice).toMatchObject([{ kind: 'delete/delete', decision: 'same' }]);
    const both = findConflicts(
      null,
      [1, 2].map((at) => ({ version: version(at), old: null, row: [`${at}`] })),
      ['last'],
    );
    expect(both).toMatchObject([{ kind: 'insert/insert', decision: 'later-wins' }]);
  });

  it('does not call it a conflict when a writer had seen the row, or only counted', () => {
    const next = ['c', 'b', '11', '{"x"}', '5', '5'];
    expect(
      findConflicts(ROW, [update(1, next), update(2, ['d', 'b', '11', '{"x"}', '5', '5'], next)], RULES),
    ).toEqual([]);
    const counted = ['a', 'b', '11', '{"x"}', '5', '5'];
    expect(findConflicts(ROW, [update(1, counted), update(2, counted)], RULES)).toEqual([]);
  });
});
