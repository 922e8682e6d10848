/** When something that failed may be tried again: each time twice as long after the last as before. */
export class RetryDelay {
  readonly #firstMs: number;
  readonly #longestMs: number;
  #delayMs = 0;
  #readyAtMs = Number.NEGATIVE_INFINITY;

  constructor(options: { readonly firstMs: number; readonly longestMs: number }) {
    this.#firstMs = options.firstMs;
    this.#longestMs = options.longestMs;
  }

  /** 0 when it may be tried now. */
  waitMs(nowMs: number): number {
    return Math.max(0, this.#readyAtMs - nowMs);
  }

  failed(nowMs: number): void {
    this.#delayMs = Math.min(this.#longestMs, Math.max(this.#firstMs, this.#delayMs * 2));
    this.#readyAtMs = nowMs + this.#delayMs;
  }

  succeeded(): void {
    this.#delayMs = 0;
    this.#readyAtMs = Number.NEGATIVE_INFINITY;
  }
}
