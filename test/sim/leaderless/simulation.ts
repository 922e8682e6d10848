import { createHash } from 'node:crypto';
import type { Simulation } from '../simulation.ts';
import { MUTANTS } from './mutants.ts';
import { runLeaderless } from './run.ts';

/** The shipped coordinator of quorum collections, on three model nodes. */
export const leaderlessSimulation: Simulation = {
  mutants: Object.entries(MUTANTS).map(([name, { what }]) => ({ name, what })),
  async run(seed, { mutant, transcript }) {
    const result = await runLeaderless(seed, mutant === null ? {} : MUTANTS[mutant]?.setup);
    for (const line of result.transcript) transcript?.(line);
    return {
      violations: result.violations,
      steps: result.steps,
      hash: createHash('sha256').update(JSON.stringify(result)).digest('hex').slice(0, 16),
    };
  },
};
