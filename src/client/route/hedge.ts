import { countRead, hedgeDelayMs, NO_HEDGES, recordAnswer, spendHedge } from './core/hedge.ts';
import type { HedgeDelay, HedgeState } from './core/hedge.ts';

/** Sends a copy of a late read to a second follower, for a bounded share of reads. */
export class Hedger {
  readonly #delay: HedgeDelay;
  #state: HedgeState = NO_HEDGES;

  constructor(delay: HedgeDelay) {
    this.#delay = delay;
  }

  /** Settles as the first attempt does, or as its copy when that succeeds sooner; see {@link raceHedged}. */
  race<T>(first: Promise<T>, startSecond: () => Promise<T> | null): Promise<T> {
    const startedAtMs = performance.now();
    this.#state = countRead(this.#state);
    const delayMs = hedgeDelayMs(this.#state, this.#delay);
    first.then(
      () => (this.#state = recordAnswer(this.#state, performance.now() - startedAtMs)),
      () => undefined,
    );
    if (delayMs === null) return first;
    return raceHedged(first, delayMs, () => {
      const spent = spendHedge(this.#state);
      const second = spent === null ? null : startSecond();
      if (second !== null && spent !== null) this.#state = spent;
      return second;
    });
  }
}

/**
 * The first of two attempts to succeed; the second starts when the first is not settled after `delayMs`,
 * unless `startSecond` gives null. When both throw, so does this, with what the first one threw. Whichever
 * is not needed any more runs on unheard.
 */
export function raceHedged<T>(
  first: Promise<T>,
  delayMs: number,
  startSecond: () => Promise<T> | null,
): Promise<T> {
  return new Promise((resolve, reject) => {
    let second: Promise<T> | null = null;
    const timer = setTimeout(() => {
      second = startSecond();
      // What it throws is of no interest: the first one's own error is still to come, or has come.
      second?.then(resolve, () => undefined);
    }, delayMs);
    first.then(
      (value) => {
        clearTimeout(timer);
        resolve(value);
      },
      (error: Error) => {
        clearTimeout(timer);
        if (second === null) reject(error);
        else second.catch(() => reject(error));
      },
    );
  });
}
