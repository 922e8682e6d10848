import { expect, it } from 'vitest';
import { HybridClock } from '../../src/leaderless/clock.ts';
import { hlcOfMs } from '../../src/leaderless/core/hlc.ts';
import type { Runtime } from '../../src/leaderless/runtime.ts';

function clockAt(now: { ms: number }): HybridClock {
  const runtime: Pick<Runtime, 'nowMs' | 'uniqueName'> = { nowMs: () => now.ms, uniqueName: () => 'anew' };
  return new HybridClock(runtime as Runtime, 10_000, 'me');
}

it('moves past what was read', () => {
  const clock = clockAt({ ms: 1_000_000 });
  const read = hlcOfMs(1_009_000);
  clock.observe(read);
  expect(clock.next()).toBeGreaterThan(read);
});

it('is moved by no time that is too far ahead to be believed', () => {
  const clock = clockAt({ ms: 1_000_000 });
  const before = clock.next();
  for (const at of [2 ** 52, Number.MAX_SAFE_INTEGER, Infinity, Number.NaN, hlcOfMs(1_010_001)])
    clock.observe(at);
  expect(clock.next()).toBe(before + 1);
});

it('says so when the machine was set back', () => {
  const now = { ms: 1_000_000 };
  const clock = clockAt(now);
  clock.keep(clock.next());
  now.ms = 980_000;
  expect(() => clock.next()).toThrow(expect.objectContaining({ code: 'CLOCK_SKEW' }));
});
