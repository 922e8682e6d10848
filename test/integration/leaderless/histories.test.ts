import { expect, it } from 'vitest';
import { runHistories } from '../../chaos/leaderless/histories.ts';

it('every answer fits one order, and no acknowledged piece is lost, while servers are killed, suspended and cut off', async () => {
  const lines: string[] = [];
  const { calls, cart, violations } = await runHistories({
    durationMs: 10_000,
    seed: 16,
    faults: ['kill', 'cut', 'suspend'],
    write: ({ type }) => lines.push(type),
    say: () => undefined,
  });
  expect(violations).toEqual([]);
  expect(calls.ok).toBeGreaterThan(20);
  expect(cart.adds).toBeGreaterThan(5);
  expect(lines.filter((type) => type === 'invoke')).toHaveLength(lines.length / 2);
});
