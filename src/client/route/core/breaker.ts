/** How a node that keeps failing is left out. Plain data; time is the caller's monotonic clock. */
export interface Breaker {
  /** Failures since the last answer. */
  readonly failures: number;
  /** How long the node is left out at the next failure. */
  readonly delayMs: number;
  /** Until then no statement goes there; after it, one does as a trial. */
  readonly openUntilMs: number;
}

/** A node that nothing is held against. */
export const CLOSED_BREAKER: Breaker = { failures: 0, delayMs: 0, openUntilMs: 0 };

/** One failure may be the statement's bad luck. */
const FAILURES_TO_OPEN = 3;
const FIRST_DELAY_MS = 500;
const LONGEST_DELAY_MS = 30_000;

/** Whether statements are kept off the node, but for a trial from time to time. */
export function isOpen(breaker: Breaker): boolean {
  return breaker.failures >= FAILURES_TO_OPEN;
}

/** Whether no statement may go to the node now. */
export function isBlocked(breaker: Breaker, nowMs: number): boolean {
  return isOpen(breaker) && nowMs < breaker.openUntilMs;
}

/** After a failure: from the third in a row on the node is left out, each time for twice as long. */
export function recordFailure(breaker: Breaker, nowMs: number): Breaker {
  const failures = breaker.failures + 1;
  if (failures < FAILURES_TO_OPEN) return { ...CLOSED_BREAKER, failures };
  const delayMs = breaker.delayMs === 0 ? FIRST_DELAY_MS : Math.min(breaker.delayMs * 2, LONGEST_DELAY_MS);
  return { failures, delayMs, openUntilMs: nowMs + delayMs };
}

/** While one statement tries the node, the others stay away for as long as before, whatever comes of it. */
export function admitTrial(breaker: Breaker, nowMs: number): Breaker {
  return { ...breaker, openUntilMs: nowMs + breaker.delayMs };
}
