import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { median, medianRatio, percentile } from '../../bench/statistics.ts';

describe('percentile', () => {
  it('is the value of the nearest rank', () => {
    const sorted = Float64Array.from({ length: 200 }, (_, index) => index + 1);
    expect(percentile(sorted, 0.99)).toBe(198);
    expect(percentile(sorted, 0.5)).toBe(100);
    expect(percentile(sorted, 0)).toBe(1);
    expect(percentile(sorted, 1)).toBe(200);
    expect(percentile([7], 0.99)).toBe(7);
    expect(() => percentile([], 0.5)).toThrow(RangeError);
  });

  it('has at least its share of the values at or below it, and fewer below', () => {
    const values = fc.array(fc.integer(), { minLength: 1 });
    fc.assert(
      fc.property(values, fc.double({ min: 0.01, max: 1, noNaN: true }), (some, share) => {
        const found = percentile(
          some.toSorted((a, b) => a - b),
          share,
        );
        const atOrBelow = some.filter((value) => value <= found).length;
        const below = some.filter((value) => value < found).length;
        expect(atOrBelow).toBeGreaterThanOrEqual(share * some.length);
        expect(below).toBeLessThan(share * some.length);
      }),
    );
  });
});

describe('median', () => {
  it('is the middle, or the mean of the two in the middle, in any order', () => {
    expect(median([3, 1, 2])).toBe(2);
    expect(median([10, 1, 3, 2])).toBe(2.5);
    expect(() => median([])).toThrow(RangeError);
  });
});

describe('the median ratio', () => {
  it('compares round by round, so that a slow spell of the machine does not count', () => {
    // The machine was four times slower in half of the rounds; ours was 10% ahead in each.
    const ours = [110, 110, 27.5, 27.5, 27.5];
    const theirs = [100, 100, 25, 25, 25];
    expect(medianRatio(ours, theirs).median).toBeCloseTo(1.1);
    expect(medianRatio([1, 2, 3, 4], [1, 1, 1, 1])).toEqual({ low: 1, median: 2.5, high: 3 });
    expect(() => medianRatio([1], [1, 2])).toThrow(RangeError);
  });
});
