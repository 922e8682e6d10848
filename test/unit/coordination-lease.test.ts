import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { expiredForMs, observeLease, renewHolderLease } from '../../src/coordination/core/lease.ts';
import type { HolderLease, LeaseObservation } from '../../src/coordination/core/lease.ts';

interface Renewal {
  readonly gapMs: number;
  readonly isApplied: boolean;
  readonly sightDelayMs: number | null;
  readonly ttlMs: number;
}

const isHolderLeaseHeld = (lease: HolderLease | null, nowMs: number): boolean =>
  lease !== null && nowMs < lease.deadlineMs;

describe('lease', () => {
  test('is over for the holder before any challenger may take it, with drifting clocks and lost renewals', () => {
    const drift = fc.double({ min: 0.96, max: 1.04, noNaN: true });
    const offset = fc.integer({ min: 0, max: 1_000_000_000 });
    const renewals: fc.Arbitrary<Renewal[]> = fc.array(
      fc.record({
        gapMs: fc.integer({ min: 1, max: 3_000 }),
        isApplied: fc.boolean(),
        sightDelayMs: fc.option(fc.integer({ min: 0, max: 2_000 })),
        ttlMs: fc.constantFrom(1_000, 2_000, 5_000),
      }),
      { minLength: 1, maxLength: 12 },
    );
    fc.assert(
      fc.property(drift, offset, drift, offset, renewals, (rateH, offsetH, rateC, offsetC, all) => {
        const holderClock = (trueMs: number): number => offsetH + trueMs * rateH;
        const challengerClock = (trueMs: number): number => offsetC + trueMs * rateC;
        let lease: HolderLease | null = null;
        let sentAt = 0;
        let observation: LeaseObservation | null = null;
        let observedAt = 0;
        for (const [index, { gapMs, isApplied, sightDelayMs, ttlMs }] of all.entries()) {
          sentAt = Math.max(sentAt, observedAt) + gapMs;
          if (index === 0 || isApplied) lease = renewHolderLease(lease, holderClock(sentAt), ttlMs);
          // A challenger counts from the newest write that it saw, applied cleanly or not; one that it missed costs it the compare-and-set.
          if (index > 0 && !isApplied && sightDelayMs === null) continue;
          observedAt = sentAt + (sightDelayMs ?? 0);
          observation = observeLease(observation, { nonce: `n${index}`, ttlMs }, challengerClock(observedAt));
          const { ttlMs: waited } = observation;
          const takenFrom = observedAt + (waited * 1.1) / rateC;
          if (!isApplied && index > 0) continue;
          for (const trueMs of [takenFrom + 1, takenFrom + 500]) {
            expect(expiredForMs(observation, challengerClock(trueMs))).toBeGreaterThan(0);
            expect(isHolderLeaseHeld(lease, holderClock(trueMs))).toBe(false);
          }
          expect(expiredForMs(observation, challengerClock(takenFrom - 1))).toBe(0);
        }
      }),
    );
  });

  test('is held from before the sending, and not a moment past its time', () => {
    const lease = renewHolderLease(null, 1_000, 500);
    expect(isHolderLeaseHeld(lease, 1_499)).toBe(true);
    expect(isHolderLeaseHeld(lease, 1_500)).toBe(false);
    expect(isHolderLeaseHeld(null, 0)).toBe(false);
  });

  test('rests on the write sent last: a shorter time counts at once, a late answer changes nothing', () => {
    const long = renewHolderLease(null, 1_000, 10_000);
    expect(renewHolderLease(long, 2_000, 500).deadlineMs).toBe(2_500);
    expect(renewHolderLease(long, 900, 10_000)).toBe(long);
  });

  test('a challenger waits 10% longer, from the first sight of a nonce', () => {
    const first = observeLease(null, { nonce: 'a', ttlMs: 1_000 }, 50);
    expect(observeLease(first, { nonce: 'a', ttlMs: 1_000 }, 900)).toBe(first);
    expect(expiredForMs(first, 1_150)).toBe(0);
    expect(expiredForMs(first, 1_170)).toBeCloseTo(20);
    const second = observeLease(first, { nonce: 'b', ttlMs: 1_000 }, 900);
    expect(expiredForMs(second, 1_170)).toBe(0);
  });
});
