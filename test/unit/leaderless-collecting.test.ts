import { describe, expect, it } from 'vitest';
import type { Cell } from '../../src/leaderless/core/cells.ts';
import { confirmedBy, isForgettable, isForgotten, isTooLate } from '../../src/leaderless/core/collecting.ts';
import { hlcOfMs } from '../../src/leaderless/core/hlc.ts';

const TEN = hlcOfMs(10_000);

function register(changes: Partial<Extract<Cell, { store: 'registers' }>> = {}): Cell {
  const named = { store: 'registers', collection: 'c', key: 'k', field: 'f', writer: 'w' } as const;
  return { ...named, value: null, at: TEN, expiresAtMs: null, ...changes };
}

function tally(added: number, removed: number, bornAt = TEN): Cell {
  return { store: 'tallies', collection: 'c', key: 'k', item: 'i', actor: 'a', added, removed, bornAt };
}

describe('a cell may be forgotten', () => {
  it.each([
    ['as a tombstone below the floor', register(), TEN, true],
    ['not above it', register(), TEN - 1, false],
    ['not while it has a value', register({ value: '1' }), TEN, false],
    ['once its value has expired', register({ value: '1', expiresAtMs: 10_000 }), TEN, true],
    ['not before', register({ value: '1', expiresAtMs: 10_001 }), TEN, false],
    ['as a tally of which all was taken out', tally(3, 3), TEN, true],
    ['not while a piece is left', tally(3, 2), TEN, false],
    ['not as one that came after the floor', tally(3, 3, TEN + 1), TEN, false],
  ])('%s', (_, cell, floor, expected) => {
    expect(isForgettable(cell, floor)).toBe(expected);
  });
});

describe('a cell that comes', () => {
  it.each([
    ['is an old state of one that was forgotten', register(), undefined, true],
    ['is not where one is known', register(), register(), false],
    ['is not above the floor', register({ at: TEN + 1 }), undefined, false],
  ])('%s', (_, cell, known, expected) => {
    expect(isForgotten(cell, known, TEN)).toBe(expected);
  });

  it.each([
    ['a write up to the seal', register(), undefined, true],
    ['one after it', register({ at: TEN + 1 }), undefined, false],
    ['one that is known', register(), register(), false],
    ['one that is known to be superseded', register(), register({ at: TEN + 1 }), false],
    ['one later than what is known', register(), register({ at: TEN - 1 }), true],
    ["one of a later writer's name", register(), register({ writer: 'v' }), true],
    ['pieces put in', tally(2, 0), undefined, true],
    ['pieces put in beside others', tally(3, 0), tally(2, 0), true],
    ['pieces that are known', tally(2, 0), tally(2, 0), false],
    ['pieces taken out, which were read somewhere', tally(2, 1), undefined, false],
    ['pieces put in after it', tally(2, 0, TEN + 1), undefined, false],
  ])('too late or not: %s', (_, cell, known, expected) => {
    expect(isTooLate(cell, known, TEN)).toBe(expected);
  });
});

describe('what all the others have seen', () => {
  it('is what the last of them has', () => {
    expect(confirmedBy([9, 3, 7])).toBe(3);
  });
});
