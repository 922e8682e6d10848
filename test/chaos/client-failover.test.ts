import { expect, it } from 'vitest';
import { runClientFailover } from './client-failover.ts';

// The seed draws each of the five faults once. `npm run chaos -- --rounds 100` is the long one.
it('keeps every promise of the client through faults of every kind', async () => {
  const lines: string[] = [];
  const result = await runClientFailover({ rounds: 5, seed: 22, onProgress: (line) => lines.push(line) });
  expect(result.violations, lines.join('\n')).toEqual([]);
  expect(Object.keys(result.faults)).toHaveLength(6);
  expect(result.failovers, lines.join('\n')).toBeGreaterThanOrEqual(3);
  expect(result.unknown.resolved).toBeGreaterThan(0);
});
