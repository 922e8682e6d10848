/** Runs work one piece after the other, in the order of asking, whether it ends well or not. The first starts at once. */
export class Sequence {
  #last: Promise<void> | null = null;

  run<T>(work: () => Promise<T>): Promise<T> {
    const next = this.#last === null ? work() : this.#last.then(work);
    const settled: Promise<void> = next.then(
      () => this.#clear(settled),
      () => this.#clear(settled),
    );
    this.#last = settled;
    return next;
  }

  /** Resolves when what was given to it so far has ended, well or not. */
  async whenIdle(): Promise<void> {
    await this.#last;
  }

  #clear(settled: Promise<void>): void {
    if (this.#last === settled) this.#last = null;
  }
}
