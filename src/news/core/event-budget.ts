/** As many as a new reader is told of the past, and a few. */
const MOST = 1_000;
const A_SECOND = 200;

/**
 * How fast events may be checked, each of which costs a signature: anybody can repeat what agents once said, as fast as
 * the network carries it.
 */
export class EventBudget {
  #left = MOST;
  #sinceMs: number;

  constructor(nowMs: number) {
    this.#sinceMs = nowMs;
  }

  /** Milliseconds to read nothing for, after `events` more. */
  spend(events: number, nowMs: number): number {
    const earned = ((nowMs - this.#sinceMs) / 1_000) * A_SECOND;
    this.#left = Math.min(MOST, this.#left + earned) - events;
    this.#sinceMs = nowMs;
    return this.#left >= 0 ? 0 : Math.ceil((-this.#left / A_SECOND) * 1_000);
  }
}
