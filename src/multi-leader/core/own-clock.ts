/**
 * How many microseconds the target's clock lacks before a batch may be applied; 0 when it may. Strictly past it: what is
 * written here afterwards must be later than what it has seen, also with clocks apart.
 */
export function clockLackUs(nowUs: number, highestUs: number): number {
  return nowUs > highestUs ? 0 : highestUs - nowUs + 1;
}

/** What a region knows about its own past, so that a clock that steps back is noticed. */
export interface OwnPast {
  /** The highest time of its own commits, of its promises to send nothing older, and of what it applied. */
  readonly highestUs: number;
}

/**
 * Whether a commit of this region came below its own past. Its rows lose to what the writer had seen, and others may
 * have forgotten what they would compare it with: they are written again once the clock is past.
 */
export function isBehindItself(past: OwnPast, committedUs: number): boolean {
  return committedUs < past.highestUs;
}
