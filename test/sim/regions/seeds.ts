import { runRegions } from './run.ts';
import { MUTANTS, SETUPS } from './setups.ts';

export interface RegionSeeds {
  seeds: number;
  steps: number;
  repaired: number;
  readonly violations: { readonly seed: number; readonly setup: string; readonly what: string }[];
}

/** Runs each seed in one of the setups, in turn. */
export function runSeeds(first: number, count: number): RegionSeeds {
  const names = Object.keys(SETUPS);
  const result: RegionSeeds = { seeds: count, steps: 0, repaired: 0, violations: [] };
  for (let seed = first; seed < first + count; seed++) {
    const setup = names[seed % names.length] ?? '';
    const run = runRegions(seed, SETUPS[setup] ?? {});
    result.steps += run.steps;
    result.repaired += run.repaired;
    const [what] = run.violations;
    if (what !== undefined) result.violations.push({ seed, setup, what });
  }
  return result;
}

/** The first seed that shows a mutant's fault, null when none of so many does. */
export function catchMutant(
  name: string,
  limit: number,
): { readonly seed: number; readonly what: string } | null {
  const mutant = MUTANTS[name];
  if (mutant === undefined) throw new RangeError(`there is no mutant ${name}`);
  for (let seed = 1; seed <= Math.max(limit, mutant.seeds ?? 0); seed++) {
    const [what] = runRegions(seed, mutant).violations;
    if (what !== undefined) return { seed, what };
  }
  return null;
}
