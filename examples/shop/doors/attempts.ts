/** Forgetting the oldest is better than remembering without end. */
const MAX_REMEMBERED = 10_000;

/** Counts what went wrong for a key (an address, an account) and says when there was enough of it. */
export class Attempts {
  readonly #limit: number;
  readonly #windowMs: number;
  readonly #clock: () => number;
  readonly #failed = new Map<string, { count: number; untilMs: number }>();

  /** After `limit` failures within `windowMs` of the first no more is tried until it is over. */
  constructor(options: { readonly limit: number; readonly windowMs: number; readonly clock: () => number }) {
    this.#limit = options.limit;
    this.#windowMs = options.windowMs;
    this.#clock = options.clock;
  }

  /** Milliseconds until another try; 0 when there may be one. */
  waitMs(key: string): number {
    const failed = this.#failed.get(key);
    if (failed === undefined) return 0;
    const leftMs = failed.untilMs - this.#clock();
    if (leftMs <= 0) this.#failed.delete(key);
    return leftMs > 0 && failed.count >= this.#limit ? leftMs : 0;
  }

  failed(key: string): void {
    const nowMs = this.#clock();
    const known = this.#failed.get(key);
    const isOver = known === undefined || known.untilMs <= nowMs;
    this.#failed.delete(key);
    this.#failed.set(
      key,
      isOver ? { count: 1, untilMs: nowMs + this.#windowMs } : { ...known, count: known.count + 1 },
    );
    const [oldest = ''] = this.#failed.keys();
    if (this.#failed.size > MAX_REMEMBERED) this.#failed.delete(oldest);
  }

  forget(key: string): void {
    this.#failed.delete(key);
  }
}
