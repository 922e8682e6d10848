import { parentPort } from 'node:worker_threads';
import type { MutantName } from './rules.ts';
import { runRange } from './seeds.ts';

export interface SeedRange {
  readonly first: number;
  readonly count: number;
  readonly mutant: MutantName | null;
}

parentPort?.on('message', ({ first, count, mutant }: SeedRange) =>
  parentPort?.postMessage(runRange(first, count, mutant), []),
);
