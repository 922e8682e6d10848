import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { noteOf, stampAfter } from '../../src/multi-leader/core/batch-record.ts';
import { collapseChanges } from '../../src/multi-leader/core/change.ts';
import { mayTakeValues } from '../../src/multi-leader/core/park-rule.ts';
import { decideRow } from '../../src/multi-leader/core/row-rule.ts';
import { compareVersions, supersedes } from '../../src/multi-leader/core/version.ts';
import { judgeTombstone, lowestPromise } from '../../src/multi-leader/core/watermark.ts';
import { judgePositions } from '../../src/multi-leader/core/position-rule.ts';
import { parseDefinition, parseRegionNames } from '../../src/multi-leader/definition.ts';
import { encodeRow, keyOfRecord, splitKey } from '../../src/multi-leader/tables/row-codec.ts';
import type { TableShape } from '../../src/multi-leader/tables/shape.ts';

const version = fc.record({
  timeUs: fc.integer({ min: 0, max: 5 }),
  region: fc.integer({ min: 0, max: 2 }),
  lsn: fc.bigInt({ min: 0n, max: 3n }),
});

describe('what batches noted', () => {
  const noted = (timeUs: number, batchTimeUs: number) => ({
    version: { timeUs, region: 0, lsn: 0n },
    batchTimeUs,
  });

  it('is told by the time of the batch that wrote the row, and of two with one time the later counts', () => {
    const notes = [noted(3, 5), noted(1, 4), noted(4, 5), noted(7, 8)];
    expect(noteOf(notes, 5)?.timeUs).toBe(4);
    expect(noteOf(notes, 4)?.timeUs).toBe(1);
    expect(noteOf(notes, 6)).toBeNull();
    expect(noteOf(notes, null)).toBeNull();
  });

  it('has a time of its own for each part of a large transaction, never below what is in it', () => {
    const first = stampAfter(null, 9);
    const second = stampAfter(first, 9);
    const third = stampAfter(second, 9);
    expect([first, second, third].map(({ stampUs }) => stampUs)).toEqual([9, 10, 11]);
    expect(stampAfter(third, 8).stampUs).toBe(8);
    expect(stampAfter(third, 12).stampUs).toBe(12);
  });
});

describe('versions', () => {
  it('are in one order for all', () => {
    fc.assert(
      fc.property(version, version, version, (a, b, c) => {
        expect(Math.sign(compareVersions(a, b))).toBe(-Math.sign(compareVersions(b, a)) + 0);
        if (compareVersions(a, b) <= 0 && compareVersions(b, c) <= 0)
          expect(compareVersions(a, c)).toBeLessThanOrEqual(0);
      }),
    );
  });

  it('replace an older one, and what is settled', () => {
    fc.assert(
      fc.property(version, version, (a, b) => {
        expect(supersedes(a, null)).toBe(true);
        if (compareVersions(a, b) > 0) expect(supersedes(a, b)).toBe(true);
        if (a.timeUs !== b.timeUs || a.region !== b.region) expect(supersedes(a, b)).toBe(!supersedes(b, a));
      }),
    );
  });
});

describe('a batch', () => {
  it('keeps the latest change of each row, whatever the order', () => {
    const change = fc.record({
      kind: fc.constant('put' as const),
      table: fc.constant('t'),
      key: fc.constantFrom('a', 'b'),
      version,
      row: fc.constant('row'),
    });
    fc.assert(
      fc.property(fc.array(change, { maxLength: 6 }), (changes) => {
        const kept = collapseChanges(changes);
        expect(new Set(kept.map(({ key }) => key)).size).toBe(kept.length);
        for (const one of changes) {
          const stays = kept.find(({ key }) => key === one.key);
          expect(stays !== undefined && compareVersions(stays.version, one.version) >= 0).toBe(true);
        }
      }),
    );
  });
});

describe('a row', () => {
  const at = (timeUs: number, region = 1) => ({ timeUs, region, lsn: 1n });
  const put = { kind: 'put', table: 't', key: 'k', version: at(10), row: 'r' } as const;

  it('that was applied has the version that was noted, and one that was written here its commit time', () => {
    const local = { kind: 'present', committedUs: 11, isApplied: false, record: at(1) } as const;
    expect(decideRow(put, local, 0)).toEqual({ kind: 'keep', because: 'newer-row' });
    const applied = { kind: 'present', committedUs: 11, isApplied: true, record: at(9) } as const;
    expect(decideRow(put, applied, 0)).toEqual({ kind: 'put' });
    expect(decideRow(put, { ...applied, record: null }, 0)).toEqual({ kind: 'put' });
  });

  it('that is not here is not let in below its tombstone', () => {
    expect(decideRow(put, { kind: 'missing', tombstone: at(11) }, 0).kind).toBe('keep');
    expect(decideRow(put, { kind: 'missing', tombstone: at(9) }, 0).kind).toBe('put');
    expect(
      decideRow({ ...put, kind: 'delete', row: null }, { kind: 'missing', tombstone: null }, 0).kind,
    ).toBe('bury');
  });

  it('is looked at once more before its tombstone goes', () => {
    const passedBy = { kind: 'present', committedUs: 4, isApplied: false, record: null } as const;
    expect(judgeTombstone(at(5), passedBy, 9, 0)).toBe('delete-row');
    expect(judgeTombstone(at(5), passedBy, 5, 0)).toBe('keep');
    expect(judgeTombstone(at(5), { ...passedBy, committedUs: 6 }, 9, 0)).toBe('forget');
    expect(judgeTombstone(at(5), { kind: 'missing', tombstone: null }, 9, 0)).toBe('forget');
    // Settled: its version is not known any more, and its recorded time says enough.
    const settled = { ...passedBy, isApplied: true } as const;
    expect(judgeTombstone(at(5), settled, 9, 0)).toBe('delete-row');
    expect(judgeTombstone(at(5), { ...settled, committedUs: 5 }, 9, 0)).toBe('forget');
  });

  it('takes a unique value only from older ones', () => {
    expect(mayTakeValues(at(5), [at(4), at(5, 0)])).toBe(true);
    expect(mayTakeValues(at(5), [at(4), at(6)])).toBe(false);
  });
});

describe('promises', () => {
  it('count only when every region has made one', () => {
    expect(lowestPromise([0, 1], new Map([[0, 5]]))).toBeNull();
    expect(
      lowestPromise(
        [0, 1],
        new Map([
          [0, 5],
          [1, 3],
          [7, 1],
        ]),
      ),
    ).toBe(3);
  });
});

describe('keys', () => {
  const shape: TableShape = {
    schema: 'public',
    table: 't',
    name: 'public.t',
    rowTypeOid: 1,
    columns: ['a', 'b'].map((name) => ({ name, typeOid: 25, typeName: 'text', isGenerated: false })),
    key: [0, 1],
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

  it('are the same from a record as from a change, and come apart again', () => {
    fc.assert(
      fc.property(fc.uint8Array(), fc.uint8Array(), (a, b) => {
        const values = [Buffer.from(a), Buffer.from(b)];
        const key = keyOfRecord(encodeRow(shape, (position) => values[position] ?? null));
        expect(splitKey(key)).toEqual(values);
      }),
    );
  });
});

describe('a definition', () => {
  it('is refused with the reason when it is none', () => {
    expect(() => parseDefinition({ tabels: {} }, 'regions.ts')).toThrow(/regions.ts .*tabels/s);
    expect(() => parseDefinition({ tables: { a: { b: { rule: 'newest' } } } }, 'x')).toThrow(/rule/);
    expect(() => parseDefinition(undefined, 'x')).toThrow(/does not export/);
    expect(parseDefinition({}, 'x')).toEqual({ tables: {}, except: [], foreignKeys: {}, maxSkewMs: 500 });
  });

  it('names regions that can be names of slots', () => {
    expect(parseRegionNames(['eu', 'us'])).toEqual(['eu', 'us']);
    for (const names of [['eu'], ['eu', 'eu'], ['EU', 'us'], ['eu', "u's"], ['eu', '']])
      expect(() => parseRegionNames(names)).toThrow(/2 to 16/);
  });
});

describe('how far a link is', () => {
  const positions = { isFounded: true, wentBack: false, letGo: 5n, end: 9n, applied: 7n };
  it.each([
    ['goes on', 'go', {}],
    ['goes on where all is let go of that was applied', 'go', { letGo: 7n }],
    ['begins where its slot begins', 'go', { applied: 0n, letGo: 8n }],
    ['lacks what was let go of', 'target-went-back', { letGo: 8n }],
    ['has more than there is', 'source-went-back', { end: 6n }],
    ['has more than there is, and no slot', 'source-went-back', { end: 6n, letGo: null }],
    ['is of one that knows it was put back', 'source-went-back', { wentBack: true }],
    ['has lost its slot', 'slot-gone', { letGo: null }],
    ['has no slot yet', 'not-ready', { letGo: null, isFounded: false, applied: 0n }],
  ] as const)('%s: %s', (_what, verdict, change) => {
    expect(judgePositions({ ...positions, ...change })).toBe(verdict);
  });
});
