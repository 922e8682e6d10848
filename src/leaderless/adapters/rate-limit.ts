/** `lockstep/leaderless/rate-limit`: an exact store for express-rate-limit in a compare-and-set collection. */
import { LockstepError } from '../../model/errors.ts';
import type { CasCollection, CasOperation, CasResult } from '../collections/cas.ts';

/** What one caller did in its window. */
export interface RateWindow {
  readonly hits: number;
  /** End of the window, ms since 1970. */
  readonly endsAtMs: number;
}

const WINDOW_MS = 60_000;
/** How often a hit whose end is in doubt is settled, and counted again where it was not. */
const MAX_TRIES = 5;
/** So many ended windows are freed with each hit: more than hits can begin. */
const FREED_A_HIT = 2;

/**
 * A store for express-rate-limit: `rateLimit({ limit: 100, windowMs: 60_000, store: new RateLimitStore(counts) })` with
 * `counts = q.collection('limits', cas())`. Exact: each hit counts once, in one order for all processes, so that a limit
 * is never passed, also while servers fail. Windows begin with a caller's first hit and go by the clock of the process that counts. Windows
 * that ended are freed as hits come in, by the process that counted in them last; those of a process that stopped stay until their caller
 * comes again.
 * Throws QUORUM_NOT_REACHED when too few servers answer; `passOnStoreError` of express-rate-limit lets such requests pass.
 */
export class RateLimitStore {
  readonly #counts: CasCollection<RateWindow>;
  readonly #now: () => number;
  #windowMs = WINDOW_MS;
  /** Windows that this process counted in, the ones that end first in front. */
  readonly #open = new Map<string, number>();
  /** Told to express-rate-limit: all processes count together. */
  readonly localKeys = false;
  readonly prefix: string;

  constructor(
    counts: CasCollection<RateWindow>,
    options: { readonly prefix?: string; readonly now?: () => number } = {},
  ) {
    this.#counts = counts;
    this.prefix = options.prefix ?? '';
    this.#now = options.now ?? Date.now;
  }

  init({ windowMs }: { readonly windowMs: number }): void {
    this.#windowMs = windowMs;
  }

  async get(key: string): Promise<{ totalHits: number; resetTime: Date } | undefined> {
    const { value } = await this.#counts.get(this.prefix + key);
    return value === undefined || value.endsAtMs <= this.#now() ? undefined : reported(value);
  }

  async increment(key: string): Promise<{ totalHits: number; resetTime: Date }> {
    const nowMs = this.#now();
    const windowMs = this.#windowMs;
    const window = await this.#change(key, (current) =>
      current === undefined || current.endsAtMs <= nowMs
        ? { hits: 1, endsAtMs: nowMs + windowMs }
        : { ...current, hits: current.hits + 1 },
    );
    const counted = window ?? { hits: 1, endsAtMs: nowMs + windowMs };
    if (this.#open.get(key) !== counted.endsAtMs) {
      this.#open.delete(key);
      this.#open.set(key, counted.endsAtMs);
    }
    this.#freeEnded(nowMs);
    return reported(counted);
  }

  async decrement(key: string): Promise<void> {
    await this.#change(key, (current) =>
      current === undefined || current.hits === 0 ? undefined : { ...current, hits: current.hits - 1 },
    );
  }

  async resetKey(key: string): Promise<void> {
    await this.#counts.delete(this.prefix + key);
  }

  async #change(
    key: string,
    change: (current: RateWindow | undefined) => RateWindow | undefined,
  ): Promise<RateWindow | undefined> {
    for (let tries = 0; tries < MAX_TRIES; tries++) {
      const result: CasResult<RateWindow> = await this.#counts.update(this.prefix + key, change);
      if (result.kind !== 'unknown') return result.value;
      // It may have counted: counting once more without asking could refuse somebody too early.
      if (await this.#wasApplied(result.operation)) return (await this.#counts.get(this.prefix + key)).value;
    }
    throw new LockstepError(
      'QUORUM_NOT_REACHED',
      'It could not be settled whether the hit was counted; try again.',
      {
        outcome: 'unknown',
        retryable: true,
      },
    );
  }

  /** Not waited for: what fails stays as a row that costs nothing but its place. */
  #freeEnded(nowMs: number): void {
    let freed = 0;
    for (const [key, endsAtMs] of this.#open) {
      if (endsAtMs > nowMs || freed++ === FREED_A_HIT) return;
      this.#open.delete(key);
      void this.#free(this.prefix + key, nowMs).catch(() => undefined);
    }
  }

  async #free(key: string, nowMs: number): Promise<void> {
    const { value, version } = await this.#counts.get(key);
    // Somebody else may have begun another window with this version behind it: then nothing is taken away.
    if (value !== undefined && value.endsAtMs <= nowMs) await this.#counts.delete(key, { version });
  }

  async #wasApplied(operation: CasOperation): Promise<boolean> {
    const settled = await this.#counts.settle(operation);
    // Nobody can tell any more: counted rather than let pass.
    return settled !== 'not-applied';
  }
}

function reported({ hits, endsAtMs }: RateWindow): { totalHits: number; resetTime: Date } {
  return { totalHits: hits, resetTime: new Date(endsAtMs) };
}
