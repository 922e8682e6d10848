import { LockstepError } from '../model/errors.ts';
import { isTooFarAhead } from './core/hlc.ts';
import { RULES } from './core/rules.ts';
import type { Rules } from './core/rules.ts';
import type { Runtime } from './runtime.ts';

/** This process's hybrid clock: never falls below a time that anybody may know, and moves past every time that was read. */
export class HybridClock {
  readonly #runtime: Runtime;
  readonly #maxAheadMs: number;
  readonly #rules: Rules;
  #writer: string;
  #last = 0;
  /** The latest that was read, or that some server may have taken. */
  #known = 0;

  /** `writer`: names this process beside its times; nobody else ever has it. */
  constructor(runtime: Runtime, maxAheadMs: number, writer: string, rules: Rules = RULES) {
    this.#rules = rules;
    this.#runtime = runtime;
    this.#maxAheadMs = maxAheadMs;
    this.#writer = writer;
  }

  /** Whose time the last one of {@link next} is: no time is given twice to one. */
  get writer(): string {
    return this.#writer;
  }

  /** A time later than all before. Throws CLOCK_SKEW when what was read is too far ahead of this machine's clock. */
  next(): number {
    const nowMs = this.#runtime.nowMs();
    const isTooFar = (time: number): boolean => isTooFarAhead(time, nowMs, this.#maxAheadMs);
    let at = this.#rules.nextHlc(this.#last, nowMs);
    if (isTooFar(at)) {
      at = this.#rules.nextHlc(this.#known, nowMs);
      if (isTooFar(at)) {
        throw new LockstepError(
          'CLOCK_SKEW',
          `This machine's clock is more than ${this.#maxAheadMs} ms behind values that it read or wrote before; set it (NTP). Nothing was written.`,
          { details: { maxClockAheadMs: this.#maxAheadMs } },
        );
      }
      // It was ahead for a while, and all servers refused what it gave then. Those times will come again.
      this.#writer = this.#runtime.uniqueName();
    }
    this.#last = at;
    return at;
  }

  /** What is written from now on is later than `at`. */
  observe(at: number): void {
    this.#known = Math.max(this.#known, at);
    this.#last = Math.max(this.#last, at);
  }
}
