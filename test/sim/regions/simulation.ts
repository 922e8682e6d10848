import { createHash } from 'node:crypto';
import type { Simulation } from '../simulation.ts';
import { runRegions } from './run.ts';
import { MUTANTS } from './mutants.ts';
import { SETUPS } from './setups.ts';

const NAMES = Object.keys(SETUPS);

/** Regions that write to the same keys: the shipped decisions, each seed in the next of the setups. */
export const regionsSimulation: Simulation = {
  mutants: Object.entries(MUTANTS).map(([name, { what }]) => ({ name, what })),
  run(seed, { mutant, transcript }) {
    const setup = mutant === null ? SETUPS[NAMES[seed % NAMES.length] ?? ''] : MUTANTS[mutant];
    const { violations, steps, transcript: lines } = runRegions(seed, setup ?? {}, { hasTranscript: true });
    for (const line of lines) transcript?.(line);
    return {
      violations: violations.map((what) => ({ invariant: 'convergence', what })),
      steps,
      hash: createHash('sha256').update(lines.join('\n')).digest('hex').slice(0, 16),
    };
  },
};
