import { describe, expect, it } from 'vitest';
import { runRegions } from './regions/run.ts';
import { catchMutant } from './regions/seeds.ts';
import { runRange } from './seeds.ts';
import { MUTANTS } from './regions/mutants.ts';
import { SETUPS } from './regions/setups.ts';

const SEEDS = Number(process.env['SIM_REGION_SEEDS'] ?? 2_000);

describe('regions that write to the same keys', () => {
  it('end with the same rows, the last writes, whatever the order of arrival', async () => {
    const { seeds, violations } = await runRange(1, SEEDS, { simulation: 'regions', mutant: null });
    expect(violations).toEqual([]);
    expect(seeds).toBe(SEEDS);
  });

  it.each(Object.entries(SETUPS))('are put to the test in %s: changes meet', (_name, setup) => {
    let decisions = 0;
    for (let seed = 1; seed <= 50; seed++) decisions += runRegions(seed, setup).decisions;
    // There is less to decide where each region writes once, or only parts of a number go about.
    const isScarce = setup.transactions === 1 || setup.isEscrow === true;
    expect(decisions / 50).toBeGreaterThan(isScarce ? 4 : 10);
  });

  it('run the same for the same seed', () => {
    const first = runRegions(7, {}, { hasTranscript: true });
    expect(runRegions(7, {}, { hasTranscript: true })).toEqual(first);
    expect(runRegions(8, {}, { hasTranscript: true }).transcript).not.toEqual(first.transcript);
  });

  it.each(Object.entries(MUTANTS).map(([name, { what }]) => [name, what] as const))(
    'would be told apart by %s: %s',
    (name) => {
      expect(catchMutant(name, 4_000)).not.toBeNull();
    },
  );
});
