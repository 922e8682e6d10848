/** Flushes one at a time, while who begins them goes on. */
export class Flushes {
  readonly #flush: () => Promise<void>;
  #underWay: Promise<void> | null = null;
  #failure: { readonly error: unknown } | null = null;
  #isClosed = false;
  /** Called after each that went well. */
  onDone: () => void = () => undefined;
  /** Called once: from then on none is begun. */
  onFailure: () => void = () => undefined;

  constructor(flush: () => Promise<void>) {
    this.#flush = flush;
  }

  /** Begins one, unless one is under way. */
  begin(): void {
    if (this.#underWay !== null || this.#failure !== null || this.#isClosed) return;
    this.#underWay = this.#run();
  }

  async #run(): Promise<void> {
    try {
      await this.#flush();
      this.#underWay = null;
      this.onDone();
    } catch (error) {
      this.#underWay = null;
      this.#failure = { error };
      this.onFailure();
    }
  }

  /** Resolves when the one that is under way has ended. Throws what one failed with. */
  async turn(): Promise<void> {
    await this.#underWay;
    if (this.#failure !== null) throw this.#failure.error;
  }

  /** Resolves when none is under way. Throws what one failed with. */
  async settled(): Promise<void> {
    while (this.#underWay !== null) await this.#underWay;
    await this.turn();
  }

  /** Begins none any more; resolves when none is under way. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#underWay;
  }
}
