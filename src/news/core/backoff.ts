const FIRST_MS = 100;
const MOST_MS = 2000;

/**
 * Milliseconds to wait after `failures` attempts in a row that failed: doubling from 100 to 2000, spread
 * over the upper half of that by `random` (0 to 1), so that many watchers do not come back in step.
 */
export function nextBackoffMs(failures: number, random: number): number {
  const ceilingMs = Math.min(MOST_MS, FIRST_MS * 2 ** Math.min(failures, 10));
  return ceilingMs / 2 + (ceilingMs / 2) * random;
}
