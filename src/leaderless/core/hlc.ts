/**
 * Hybrid logical time in one whole number: milliseconds since 1970 times 2048, plus a counter. It stays below 2^53 until the year
 * 2109. Source: S. Kulkarni and others, "Logical Physical Clocks", 2014.
 */
const STEPS_PER_MS = 2_048;

/** The first hybrid time of a millisecond. */
export function hlcOfMs(ms: number): number {
  return Math.floor(ms) * STEPS_PER_MS;
}

/** Milliseconds since 1970 of a hybrid time. */
export function msOfHlc(at: number): number {
  return Math.floor(at / STEPS_PER_MS);
}

/** The time of the next event at a process that has seen `last`: later than that, and no earlier than its clock. */
export function nextHlc(last: number, nowMs: number): number {
  return Math.max(last + 1, hlcOfMs(nowMs));
}

/** Whether a time that somebody else gave is further ahead of our clock than is believed. */
export function isTooFarAhead(at: number, nowMs: number, maxAheadMs: number): boolean {
  return msOfHlc(at) > nowMs + maxAheadMs;
}
