import { describe, expect, it } from 'vitest';
import { runUnique } from './regions/unique.ts';
import type { UniqueRule } from './regions/unique.ts';

const SEEDS = 5_000;

describe('unique values over regions', () => {
  it('are held by the same rows everywhere in the end', () => {
    for (let seed = 1; seed <= SEEDS; seed++) expect(runUnique(seed, 'park'), `seed ${seed}`).toEqual([]);
  });

  it.each<UniqueRule>(['drop-the-loser', 'refuse-the-second', 'never-bring-back'])(
    'would not be: %s',
    (rule) => {
      let seed = 1;
      while (seed < SEEDS && runUnique(seed, rule).length === 0) seed++;
      expect(seed).toBeLessThan(SEEDS);
    },
  );
});
