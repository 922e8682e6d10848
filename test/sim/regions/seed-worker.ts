import { parentPort } from 'node:worker_threads';
import { runSeeds } from './seeds.ts';

parentPort?.on('message', ({ first, count }: { first: number; count: number }) =>
  parentPort?.postMessage(runSeeds(first, count), []),
);
