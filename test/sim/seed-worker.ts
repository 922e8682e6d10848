import { parentPort } from 'node:worker_threads';
import { runRange } from './seeds.ts';
import type { Subject } from './seeds.ts';

export interface SeedRange {
  readonly first: number;
  readonly count: number;
  readonly subject: Subject;
}

parentPort?.on('message', ({ first, count, subject }: SeedRange) => {
  void runRange(first, count, subject).then((result) => parentPort?.postMessage(result, []));
});
