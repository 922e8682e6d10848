import { expect, it } from 'vitest';
import { TRIMMING_BEGINS, trimOn } from '../../src/leaderless/core/trimming.ts';

it('names are gone through once, then what is added, and all of them again once that is more than was kept', () => {
  let state = trimOn(TRIMMING_BEGINS, { names: 500, kept: 60, next: 10, isWhole: false });
  expect(state).toEqual({ from: 10, kept: 60, added: 0, isThrough: false });
  state = trimOn(state, { names: 50, kept: 40, next: 20, isWhole: true });
  expect(state).toEqual({ from: 20, kept: 100, added: 0, isThrough: true });
  state = trimOn(state, { names: 90, kept: 10, next: 30, isWhole: false });
  expect(state).toEqual({ from: 30, kept: 110, added: 90, isThrough: true });
  const later = trimOn(state, { names: 20, kept: 0, next: 40, isWhole: true });
  expect(later).toEqual({ from: 40, kept: 110, added: 110, isThrough: true });
  expect(trimOn(later, { names: 1, kept: 0, next: 41, isWhole: true })).toEqual(TRIMMING_BEGINS);
  // Keys that are new put no other name out of date.
  const grown = trimOn(later, { names: 900, kept: 900, next: 50, isWhole: true });
  expect(grown).toEqual({ from: 50, kept: 1_010, added: 1_010, isThrough: true });
});
