import type { Simulation } from '../simulation.ts';
import { MUTANTS } from './mutants.ts';
import type { MutantName } from './rules.ts';
import { runCluster } from './run.ts';

export const clusterSimulation: Simulation = {
  mutants: MUTANTS,
  run: (seed, { mutant, transcript }) =>
    runCluster(seed, {
      mutant: mutant as MutantName | null,
      ...(transcript === undefined ? {} : { transcript }),
    }),
};
