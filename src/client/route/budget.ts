import type { Clock } from '../../model/clock.ts';
import { connectTimeout, poolSaturated } from '../app/failures.ts';

/**
 * How many connections may be in use at once, over all servers. First come, first served; a place given
 * back goes to the one who waited longest.
 */
export class Budget {
  readonly #max: number;
  readonly #maxWaiting: number;
  readonly #clock: Clock;
  readonly #waiters: (() => void)[] = [];
  #inUse = 0;

  constructor(max: number, maxWaiting: number, clock: Clock) {
    this.#clock = clock;
    this.#max = max;
    this.#maxWaiting = maxWaiting;
  }

  get inUse(): number {
    return this.#inUse;
  }

  get waiting(): number {
    return this.#waiters.length;
  }

  /** Takes a place if one is free at once. */
  tryTake(): boolean {
    if (this.#inUse >= this.#max) return false;
    this.#inUse += 1;
    return true;
  }

  /**
   * Waits for a place, for `timeoutMs` at most (0: for ever); then it throws pg-pool's own error. Throws
   * POOL_SATURATED (not applied) when too many wait already.
   */
  take(timeoutMs: number): Promise<void> {
    if (this.tryTake()) return Promise.resolve();
    const { length } = this.#waiters;
    if (length >= this.#maxWaiting) return Promise.reject(poolSaturated(length, 'a connection'));
    return new Promise((resolve, reject) => {
      let callOff: (() => void) | null = null;
      const waiter = (): void => {
        callOff?.();
        resolve();
      };
      const giveUp = (): void => {
        this.#waiters.splice(this.#waiters.indexOf(waiter), 1);
        reject(connectTimeout());
      };
      this.#waiters.push(waiter);
      if (timeoutMs > 0) callOff = this.#clock.after(timeoutMs, giveUp, true);
    });
  }

  give(): void {
    const next = this.#waiters.shift();
    if (next === undefined) this.#inUse -= 1;
    else next();
  }
}
