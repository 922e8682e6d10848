import { LockstepError } from '../model/errors.ts';
import { isTooFarAhead } from './core/hlc.ts';
import { RULES } from './core/rules.ts';
import type { Rules } from './core/rules.ts';
import type { Runtime } from './runtime.ts';

/** This process's hybrid clock: never falls, and moves past every time that was read. */
export class HybridClock {
  readonly #runtime: Runtime;
  readonly #maxAheadMs: number;
  readonly #rules: Rules;
  #last = 0;

  constructor(runtime: Runtime, maxAheadMs: number, rules: Rules = RULES) {
    this.#rules = rules;
    this.#runtime = runtime;
    this.#maxAheadMs = maxAheadMs;
  }

  /** A time later than all before. Throws CLOCK_SKEW when what was read is too far ahead of this machine's clock. */
  next(): number {
    const nowMs = this.#runtime.nowMs();
    const at = this.#rules.nextHlc(this.#last, nowMs);
    if (isTooFarAhead(at, nowMs, this.#maxAheadMs)) {
      throw new LockstepError(
        'CLOCK_SKEW',
        `This machine's clock is more than ${this.#maxAheadMs} ms behind values that it read or wrote before; set it (NTP). Nothing was written.`,
        { details: { maxClockAheadMs: this.#maxAheadMs } },
      );
    }
    this.#last = at;
    return at;
  }

  /** What is written from now on is later than `at`. */
  observe(at: number): void {
    if (at > this.#last) this.#last = at;
  }
}
