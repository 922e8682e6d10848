import type { Clock } from '../../model/clock.ts';
import { promiseUntilMs, supportsLeader } from '../core/support.ts';
import type { PingView } from '../core/support.ts';

/**
 * The member's side of support: what this node has promised to the leader, and whether it has lost it.
 * Kept in memory only: a process that starts behaves as if it had just promised.
 */
export class PromiseToLeader {
  readonly #clock: Clock;
  readonly #onLost: () => void;
  #untilMs: number;
  #endWatch: (() => void) | null = null;

  /** `onLost` is called soon after a promise ran out. */
  constructor(supportMs: number, clock: Clock, onLost: () => void) {
    this.#clock = clock;
    this.#onLost = onLost;
    this.#untilMs = promiseUntilMs(clock.nowMs(), supportMs);
    this.#watch();
  }

  /** Whether a ping is supported; the promise is made before the answer leaves. */
  answer(view: PingView): boolean {
    const supports = supportsLeader(view);
    if (supports) this.grant(view.ping.supportMs);
    return supports;
  }

  /** Promises without being asked: to a leader seen for the first time, so that it has time to ping. */
  grant(supportMs: number): void {
    this.#untilMs = Math.max(this.#untilMs, promiseUntilMs(this.#clock.nowMs(), supportMs));
    this.#watch();
  }

  /** How long ago the promise ran out; 0 while it stands. */
  get lostForMs(): number {
    return Math.max(0, this.#clock.nowMs() - this.#untilMs);
  }

  close(): void {
    this.#endWatch?.();
  }

  /** One timer for all the promises: it looks at the newest when it fires. */
  #watch(): void {
    if (this.#endWatch !== null) return;
    this.#endWatch = this.#clock.after(this.#untilMs - this.#clock.nowMs() + 1, () => {
      this.#endWatch = null;
      if (this.lostForMs > 0) this.#onLost();
      else this.#watch();
    });
  }
}
