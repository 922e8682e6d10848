import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Image } from '../../src/multi-leader/core/image.ts';
import type { Operation } from '../../src/multi-leader/core/merge.ts';
import { refereeByPriority, refereeOf } from '../../src/multi-leader/core/referee-rule.ts';
import type { RefereedRow } from '../../src/multi-leader/core/referee-rule.ts';

const [EU, US, AP] = [0, 1, 2];
const ORDER = [EU, US, AP] as const;
const BASE: Image = ['1', 'x', 'y'];

function write(timeUs: number, region: number, old: Image | null, row: Image | null): Operation {
  return { version: { timeUs, region, lsn: 0n }, old, row };
}

/** Of a table whose second column goes by the order of regions, and whose third one by the last write. */
function referee(
  operations: readonly Operation[],
  known: readonly (number | null)[] = [],
  writersOf?: (operation: Operation) => readonly number[] | undefined,
): RefereedRow {
  return continueWith({ settled: BASE, decided: BASE, writers: known }, operations, writersOf);
}

function continueWith(
  start: RefereedRow,
  operations: readonly Operation[],
  writersOf?: (operation: Operation) => readonly number[] | undefined,
): RefereedRow {
  return refereeByPriority(start, operations, ['last', 'last', 'last'], [null, ORDER, null], writersOf);
}

describe('the priority of regions', () => {
  it('lets the first region keep what it wrote, whichever was later', () => {
    const { settled, decided } = referee([
      write(1, EU, BASE, ['1', 'eu', 'y']),
      write(2, US, BASE, ['1', 'us', 'y']),
      write(3, AP, BASE, ['1', 'ap', 'y']),
    ]);
    expect(settled).toEqual(['1', 'ap', 'y']);
    expect(decided).toEqual(['1', 'eu', 'y']);
  });

  it('goes by columns, and where nothing is said by the last write', () => {
    const { decided } = referee([
      write(1, EU, BASE, ['1', 'eu', 'eu']),
      write(2, US, BASE, ['1', 'us', 'us']),
    ]);
    expect(decided).toEqual(['1', 'eu', 'us']);
  });

  it('stands also before who has seen the write that lost to it', () => {
    const { decided } = referee([
      write(1, EU, BASE, ['1', 'eu', 'y']),
      write(2, US, BASE, ['1', 'us', 'y']),
      write(3, AP, ['1', 'us', 'y'], ['1', 'ap', 'y']),
    ]);
    expect(decided).toEqual(['1', 'eu', 'y']);
  });

  it('stands before what a referee has carried out meanwhile, which had seen everything', () => {
    const carried = write(3, US, ['1', 'eu', 'y'], ['1', 'ap', 'y']);
    const { decided } = referee([write(1, EU, BASE, ['1', 'eu', 'y']), carried], [], (operation) =>
      operation === carried ? [AP, AP, AP] : undefined,
    );
    expect(decided).toEqual(['1', 'eu', 'y']);
  });

  it('leaves counters as they add up', () => {
    const rules = ['last', 'last', 'counter'] as const;
    const start = { settled: ['1', 'x', '5'], decided: ['1', 'x', '5'] };
    const { settled, decided } = refereeByPriority(
      start,
      [
        write(1, EU, start.settled, ['1', 'eu', '6']),
        write(2, US, start.settled, null),
        write(3, AP, start.settled, ['1', 'x', '8']),
      ],
      rules,
      [null, ORDER, null],
    );
    expect([settled, decided]).toEqual([
      ['1', 'x', '8'],
      ['1', 'eu', '8'],
    ]);
  });

  it('is nothing to a write that had seen the other one', () => {
    const { decided, writers } = referee([
      write(1, EU, BASE, ['1', 'eu', 'y']),
      write(2, AP, ['1', 'eu', 'y'], ['1', 'ap', 'y']),
    ]);
    expect(decided).toEqual(['1', 'ap', 'y']);
    expect(writers[1]).toBe(AP);
  });

  it('counts for deletes and inserts as a whole', () => {
    expect(referee([write(1, EU, BASE, ['1', 'eu', 'y']), write(2, US, BASE, null)]).decided).toEqual([
      '1',
      'eu',
      'y',
    ]);
    expect(referee([write(1, US, BASE, null), write(2, EU, BASE, ['1', 'eu', 'y'])]).decided).toEqual([
      '1',
      'eu',
      'y',
    ]);
    expect(referee([write(1, EU, BASE, null), write(2, US, BASE, ['1', 'us', 'y'])]).decided).toBeNull();
  });

  it('is known of what was settled before, and of what a referee wrote for another region', () => {
    const late = write(2, US, ['1', 'old', 'y'], ['1', 'us', 'y']);
    expect(referee([late], [null, EU, null]).decided).toEqual(BASE);
    expect(referee([late]).decided).toEqual(['1', 'us', 'y']);
    const output = write(3, AP, BASE, ['1', 'eu', 'y']);
    const operations = [write(2, US, BASE, ['1', 'us', 'y']), output];
    expect(referee(operations).decided).toEqual(['1', 'us', 'y']);
    expect(referee(operations, [], (one) => (one === output ? [EU, EU, EU] : undefined)).decided).toEqual([
      '1',
      'eu',
      'y',
    ]);
  });

  it('gives the same for three writes that had not seen each other, whatever their order in time, and whenever they settle', () => {
    fc.assert(
      fc.property(fc.shuffledSubarray([EU, US, AP], { minLength: 3 }), (order) => {
        const operations = order.map((region, at) => write(at, region, BASE, ['1', `of ${region}`, 'y']));
        for (const split of [0, 1, 2, 3]) {
          const first = referee(operations.slice(0, split));
          expect(continueWith(first, operations.slice(split)).decided).toEqual(['1', `of ${EU}`, 'y']);
        }
      }),
    );
  });

  it('is decided by one region a row, and by each of some rows', () => {
    const keys = Array.from({ length: 300 }, (_, index) =>
      String.fromCharCode(0, 0, index >> 8, index & 255),
    );
    const counts = [0, 0, 0];
    for (const key of keys) counts[refereeOf(key, [0, 1, 2])] = (counts[refereeOf(key, [0, 1, 2])] ?? 0) + 1;
    expect(Math.min(...counts)).toBeGreaterThan(50);
  });
});
