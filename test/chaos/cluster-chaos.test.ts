import { expect, it } from 'vitest';
import { runClusterChaos } from './cluster-chaos.ts';
import type { ClusterFault } from './core/cluster-faults.ts';

const isPossible = process.platform === 'linux' && process.getuid?.() === 0;

/** One of each kind: network, process, both frozen. `npm run chaos -- --rounds 100` is the long one. */
const FAULTS: readonly ClusterFault[] = [
  'split-leader',
  'kill-leader-host',
  'stop-leader-host',
  'switchover',
];

it.skipIf(!isPossible)('loses nothing and has one leader at a time, on hosts of their own', async () => {
  const lines: string[] = [];
  const stop = new AbortController();
  const result = await runClusterChaos({
    seed: 1,
    rounds: FAULTS.length,
    faults: FAULTS,
    onProgress: (line) => lines.push(line),
    stop: stop.signal,
  });
  const told = lines.join('\n');
  expect(result.violations, told).toEqual([]);
  expect(result.faults).toEqual(Object.fromEntries(FAULTS.map((fault) => [fault, 1])));
  expect(result.failovers, told).toBe(FAULTS.length);
  expect(result.acknowledged).toBeGreaterThan(1_000);
});
