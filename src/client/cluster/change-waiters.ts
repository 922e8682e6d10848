import type { Clock } from '../../model/clock.ts';

/** Those who wait for the next news about the cluster. */
export class ChangeWaiters {
  readonly #clock: Clock;
  readonly #waiters = new Set<() => void>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Resolves at the next news, or after `timeoutMs`; a wait with a limit keeps the process alive. */
  next(timeoutMs?: number): Promise<void> {
    return new Promise((resolve) => {
      const done = (): void => {
        callOff?.();
        this.#waiters.delete(done);
        resolve();
      };
      const callOff = timeoutMs === undefined ? null : this.#clock.after(timeoutMs, done, true);
      this.#waiters.add(done);
    });
  }

  wake(): void {
    // A waiter takes itself off the set, which a Set's iteration allows.
    for (const waiter of this.#waiters) waiter();
  }
}
