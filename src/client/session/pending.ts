/** Counts what was accepted and is not done yet, so that whoever must can wait for it. */
export class Pending {
  #count = 0;
  #waiters: (() => void)[] = [];

  get isAny(): boolean {
    return this.#count > 0;
  }

  begin(): void {
    this.#count += 1;
  }

  done(): void {
    this.#count -= 1;
    if (this.#count > 0) return;
    const waiters = this.#waiters;
    this.#waiters = [];
    for (const waiter of waiters) waiter();
  }

  /** Counts `work` until it settles. */
  async hold<T>(work: Promise<T>): Promise<T> {
    this.begin();
    try {
      return await work;
    } finally {
      this.done();
    }
  }

  /** Resolves as soon as nothing is left. */
  async whenNone(): Promise<void> {
    while (this.#count > 0) await new Promise<void>((resolve) => this.#waiters.push(resolve));
  }
}
