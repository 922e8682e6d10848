import { runRegions } from './run.ts';
import { MUTANTS } from './mutants.ts';

/** The first seed that shows a mutant's fault, null when none of so many does. */
export function catchMutant(
  name: string,
  limit: number,
): { readonly seed: number; readonly what: string } | null {
  const mutant = MUTANTS[name];
  if (mutant === undefined) throw new RangeError(`there is no mutant ${name}`);
  for (let seed = mutant.firstSeed ?? 1; seed <= Math.max(limit, mutant.seeds ?? 0); seed++) {
    const [what] = runRegions(seed, mutant).violations;
    if (what !== undefined) return { seed, what };
  }
  return null;
}
