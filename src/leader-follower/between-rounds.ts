/** What is asked of an agent from outside and must not run beside a round: it runs before the next one. */
export class BetweenRounds {
  readonly #wake: () => void;
  #tasks: (() => Promise<void>)[] = [];

  constructor(wake: () => void) {
    this.#wake = wake;
  }

  /** Settles as the task does. */
  ask<T>(task: () => Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      this.#tasks.push(() => task().then(resolve, reject));
      this.#wake();
    });
  }

  async run(): Promise<void> {
    for (const task of this.#tasks.splice(0)) await task();
  }
}
