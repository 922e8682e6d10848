import type { Invariant } from './checker.ts';
import type { MutantName } from './rules.ts';
import { runCluster } from './run.ts';

export interface SeedsResult {
  seeds: number;
  steps: number;
  readonly violations: { readonly seed: number; readonly invariant: Invariant; readonly command: string }[];
}

/** What shows a seed's run again. */
export function commandFor(seed: number, mutant: MutantName | null): string {
  return `npm run sim -- --seed ${seed}${mutant === null ? '' : ` --mutant ${mutant}`}`;
}

export function runRange(first: number, count: number, mutant: MutantName | null): SeedsResult {
  const result: SeedsResult = { seeds: count, steps: 0, violations: [] };
  for (let seed = first; seed < first + count; seed++) {
    const { steps, violations } = runCluster(seed, { mutant });
    result.steps += steps;
    const broken = violations[0];
    if (broken !== undefined)
      result.violations.push({ seed, invariant: broken.invariant, command: commandFor(seed, mutant) });
  }
  return result;
}
