import { loadSimulation, SIMULATION_NAMES } from './simulation.ts';

/** What is run, for one seed or many. */
export interface Subject {
  readonly simulation: string;
  readonly mutant: string | null;
}

export interface SeedsResult {
  seeds: number;
  steps: number;
  readonly violations: { readonly seed: number; readonly invariant: string; readonly command: string }[];
}

/** What shows a seed's run again. */
export function commandFor(seed: number, { simulation, mutant }: Subject): string {
  const of = simulation === SIMULATION_NAMES[0] ? '' : ` --of ${simulation}`;
  return `npm run sim --${of} --seed ${seed}${mutant === null ? '' : ` --mutant ${mutant}`}`;
}

export async function runRange(first: number, count: number, subject: Subject): Promise<SeedsResult> {
  const simulation = await loadSimulation(subject.simulation);
  const result: SeedsResult = { seeds: count, steps: 0, violations: [] };
  for (let seed = first; seed < first + count; seed++) {
    const { steps, violations } = await simulation.run(seed, { mutant: subject.mutant });
    result.steps += steps;
    const broken = violations[0];
    if (broken !== undefined)
      result.violations.push({ seed, invariant: broken.invariant, command: commandFor(seed, subject) });
  }
  return result;
}
