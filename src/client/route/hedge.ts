import type { Clock } from '../../model/clock.ts';
import { countRead, hedgeDelayMs, NO_HEDGES, recordAnswer, spendHedge } from './core/hedge.ts';
import type { HedgeState } from './core/hedge.ts';
import type { HedgeDelay } from '../app/options.ts';

/** Sends a copy of a late read to a second follower, for a bounded share of reads. */
export class Hedger {
  readonly #delay: HedgeDelay;
  readonly #clock: Clock;
  #state: HedgeState = NO_HEDGES;

  constructor(delay: HedgeDelay, clock: Clock) {
    this.#delay = delay;
    this.#clock = clock;
  }

  /** Settles as the first attempt does, or as its copy when that succeeds sooner; see {@link raceHedged}. */
  race<T>(first: Promise<T>, startSecond: () => Promise<T> | null): Promise<T> {
    const startedAtMs = this.#clock.nowMs();
    this.#state = countRead(this.#state);
    const delayMs = hedgeDelayMs(this.#state, this.#delay);
    first.then(
      () => (this.#state = recordAnswer(this.#state, this.#clock.nowMs() - startedAtMs)),
      () => undefined,
    );
    if (delayMs === null) return first;
    return raceHedged(this.#clock, first, delayMs, () => {
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
  clock: Clock,
  first: Promise<T>,
  delayMs: number,
  startSecond: () => Promise<T> | null,
): Promise<T> {
  return new Promise((resolve, reject) => {
    let second: Promise<T> | null = null;
    const callOff = clock.after(delayMs, () => {
      second = startSecond();
      // What it throws is of no interest: the first one's own error is still to come, or has come.
      second?.then(resolve, () => undefined);
    });
    first.then(
      (value) => {
        callOff();
        resolve(value);
      },
      (error: Error) => {
        callOff();
        if (second === null) reject(error);
        else second.catch(() => reject(error));
      },
    );
  });
}
