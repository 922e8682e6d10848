import { promiseUntilMs } from '../../../src/leader-follower/core/support.ts';
import type { Host } from './host.ts';
import { DEFAULT_SUPPORT_MS } from '../../../src/leader-follower/patience.ts';
import type { MutantName } from './rules.ts';

/** A member's promise to the leader, as src/leader-follower/leadership/promise-to-leader.ts keeps it. */
export class ModelPromise {
  readonly #host: Host;
  readonly #mutant: MutantName | null;
  readonly #onLost: () => void;
  #untilMs: number;
  #isWatched = false;

  constructor(host: Host, mutant: MutantName | null, onLost: () => void) {
    this.#host = host;
    this.#mutant = mutant;
    this.#onLost = onLost;
    const isForgotten = mutant === 'promise-forgotten-at-restart';
    this.#untilMs = isForgotten ? Number.NEGATIVE_INFINITY : this.#from(host.nowMs());
    this.#watch();
  }

  get lostForMs(): number {
    return Math.max(0, this.#host.nowMs() - this.#untilMs);
  }

  grant(): void {
    this.#untilMs = Math.max(this.#untilMs, this.#from(this.#host.nowMs()));
    this.#watch();
  }

  #from(nowMs: number): number {
    return this.#mutant === 'promise-without-margin'
      ? nowMs + DEFAULT_SUPPORT_MS
      : promiseUntilMs(nowMs, DEFAULT_SUPPORT_MS);
  }

  #watch(): void {
    if (this.#isWatched) return;
    this.#isWatched = true;
    this.#host.after(this.#host.agent, Math.max(1, this.#untilMs - this.#host.nowMs() + 1), () => {
      this.#isWatched = false;
      if (this.lostForMs > 0) this.#onLost();
      else this.#watch();
    });
  }
}
