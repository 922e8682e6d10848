import { describe, expect, it } from 'vitest';
import { MUTANTS } from './leaderless/mutants.ts';
import { runLeaderless } from './leaderless/run.ts';
import { runRange } from './seeds.ts';

const SEEDS = Number(process.env['SIM_LEADERLESS_SEEDS'] ?? 60);
const SEEDS_OF_MUTANTS = 600;

describe('the coordinator of quorum collections', () => {
  it('keeps its promises under crashes, cuts, late messages and clocks that jump', async () => {
    const { seeds, violations } = await runRange(1, SEEDS, { simulation: 'leaderless', mutant: null });
    expect(violations).toEqual([]);
    expect(seeds).toBe(SEEDS);
  });

  it('is put to the test: work is done, and some of it ends in doubt', async () => {
    let acknowledged = 0;
    let unknown = 0;
    let reads = 0;
    for (let seed = 1; seed <= 20; seed++) {
      const result = await runLeaderless(seed);
      acknowledged += result.acknowledged;
      unknown += result.unknown;
      reads += result.reads;
    }
    expect(acknowledged / 20).toBeGreaterThan(30);
    expect(reads / 20).toBeGreaterThan(30);
    expect(unknown / 20).toBeGreaterThan(1);
  });

  it('runs the same for the same seed', async () => {
    const first = await runLeaderless(7);
    expect(await runLeaderless(7)).toEqual(first);
    expect((await runLeaderless(8)).steps).not.toBe(first.steps);
  });

  it.each(
    Object.entries(MUTANTS)
      .filter(([, { isRare }]) => isRare !== true)
      .map(([name, { what }]) => [name, what] as const),
  )('would be told apart by %s: %s', async (name) => {
    const { firstSeed, step = 1 } = MUTANTS[name] ?? { firstSeed: 1 };
    for (let run = 0; run < SEEDS_OF_MUTANTS; run++) {
      const seed = firstSeed + step * run;
      const { violations } = await runLeaderless(seed, MUTANTS[name]?.setup);
      if (violations.length > 0) return;
    }
    expect.fail(`${SEEDS_OF_MUTANTS} seeds did not notice`);
  });
});
