import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  admitTrial,
  CLOSED_BREAKER,
  isBlocked,
  isOpen,
  recordFailure,
} from '../../src/client/route/core/breaker.ts';
import type { Breaker } from '../../src/client/route/core/breaker.ts';

const failing = (times: number, nowMs = 0): Breaker =>
  Array.from({ length: times }).reduce<Breaker>((breaker) => recordFailure(breaker, nowMs), CLOSED_BREAKER);

describe('the circuit breaker', () => {
  it('opens at the third failure in a row', () => {
    expect(isBlocked(failing(2), 0)).toBe(false);
    expect(isBlocked(failing(3), 0)).toBe(true);
  });

  it('lets one statement try after the delay, and the others stay away meanwhile', () => {
    const open = failing(3);
    expect(isBlocked(open, 499)).toBe(true);
    expect(isBlocked(open, 500)).toBe(false);
    const trying = admitTrial(open, 500);
    expect(isBlocked(trying, 501)).toBe(true);
    expect(isBlocked(trying, 1000)).toBe(false);
  });

  it('leaves out for twice as long after each failed trial, up to half a minute', () => {
    const delays = Array.from({ length: 10 }, (_, index) => failing(index + 3).delayMs);
    expect(delays).toEqual([500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000, 30_000]);
  });

  it('always tries again in time, whatever happened', () => {
    const step = fc.record({ isFailure: fc.boolean(), afterMs: fc.nat(5000) });
    fc.assert(
      fc.property(fc.array(step), (steps) => {
        let nowMs = 0;
        let breaker = CLOSED_BREAKER;
        for (const { isFailure, afterMs } of steps) {
          nowMs += afterMs;
          if (isFailure) breaker = recordFailure(breaker, nowMs);
          else if (isOpen(breaker) && !isBlocked(breaker, nowMs)) breaker = admitTrial(breaker, nowMs);
          expect(isBlocked(breaker, nowMs + 30_000)).toBe(false);
        }
      }),
    );
  });
});
