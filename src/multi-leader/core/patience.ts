/** Longer than what most transactions hold a row for. */
const FIRST_MS = 30;
const LONGEST_MS = 10_000;
/** With the waits of before, about two of PostgreSQL's own deadlock timeouts. */
const TIMES_TOGETHER = 6;

/**
 * How many microseconds the target's clock lacks before a batch may be applied; 0 when it may. Strictly past it: what is
 * written here afterwards must be later than what it has seen, also with clocks apart.
 */
export function clockLackUs(nowUs: number, highestUs: number): number {
  return nowUs > highestUs ? 0 : highestUs - nowUs + 1;
}

/**
 * How long a batch waits for a row that somebody holds before it lets go of all of its own, and tries again. At first for less
 * than anybody waits before they look for a circle: where a local writer and a batch wait for each other, the batch gives way, and
 * the writer notices nothing. In the end longer, so that a row which many write is reached.
 */
export function lockTimeoutMs(timesGivenWay: number, deadlockTimeoutMs: number): number {
  const wanted = Math.min(FIRST_MS * 2 ** timesGivenWay, LONGEST_MS);
  return timesGivenWay < TIMES_TOGETHER
    ? Math.max(1, Math.min(wanted, Math.floor(deadlockTimeoutMs / 2)))
    : wanted;
}

/** Whether the rows of a batch are tried together once more; else each on its own, with the row that is in the way as the last. */
export function mayGoTogether(timesGivenWay: number): boolean {
  return timesGivenWay < TIMES_TOGETHER;
}
