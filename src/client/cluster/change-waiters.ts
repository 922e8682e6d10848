/** Those who wait for the next news about the cluster. */
export class ChangeWaiters {
  readonly #waiters = new Set<() => void>();

  /** Resolves at the next news, or after `timeoutMs`; a wait with a limit keeps the process alive. */
  next(timeoutMs?: number): Promise<void> {
    return new Promise((resolve) => {
      const done = (): void => {
        clearTimeout(timer);
        this.#waiters.delete(done);
        resolve();
      };
      const timer = timeoutMs === undefined ? undefined : setTimeout(done, timeoutMs);
      this.#waiters.add(done);
    });
  }

  wake(): void {
    // A waiter takes itself off the set, which a Set's iteration allows.
    for (const waiter of this.#waiters) waiter();
  }
}
