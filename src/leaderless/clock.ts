import { LockstepError } from '../model/errors.ts';
import { isTooFarAhead } from './core/hlc.ts';
import { RULES } from './core/rules.ts';
import type { Rules } from './core/rules.ts';
import type { Runtime } from './runtime.ts';

/** This process's hybrid clock: never falls below a time that anybody may know, and moves past every believable one that was read. */
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

  /** A time later than all before. Throws CLOCK_SKEW when this machine's clock was set back too far since. */
  next(): number {
    const nowMs = this.#runtime.nowMs();
    const isTooFar = (time: number): boolean => isTooFarAhead(time, nowMs, this.#maxAheadMs);
    let at = this.#rules.nextHlc(this.#last, nowMs);
    if (isTooFar(at)) {
      at = this.#rules.nextHlc(this.#known, nowMs);
      if (isTooFar(at)) {
        throw new LockstepError(
          'CLOCK_SKEW',
          `This machine's clock is more than ${this.#maxAheadMs} ms behind what it wrote before; set it (NTP). Nothing was written.`,
          { details: { maxClockAheadMs: this.#maxAheadMs } },
        );
      }
      // It was ahead for a while, and all servers refused what it gave then. Those times will come again.
      this.#writer = this.#runtime.uniqueName();
    }
    this.#last = at;
    return at;
  }

  /**
   * What is written from now on is later than `at`, which was read; but for a time so far ahead that no server takes one: a
   * single server that is wrong would stop every write of this process.
   */
  observe(at: number): void {
    const isBelievable =
      Number.isSafeInteger(at) && !isTooFarAhead(at, this.#runtime.nowMs(), this.#maxAheadMs);
    if (isBelievable) this.keep(at);
  }

  /** The same for a time of this process's own, which some server may have taken. */
  keep(at: number): void {
    this.#known = Math.max(this.#known, at);
    this.#last = Math.max(this.#last, at);
  }
}
