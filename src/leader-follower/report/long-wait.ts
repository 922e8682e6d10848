import type { Clock } from '../../model/clock.ts';

/** A failover is over by then: what lasts longer needs somebody who looks. */
const LONG_MS = 5_000;

/** Tells what a node waits for, once, when that has not changed for a while. */
export class LongWait {
  readonly #clock: Clock;
  readonly #tell: (text: string) => void;
  #text: string | null = null;
  #sinceMs = 0;
  #isTold = false;

  constructor(clock: Clock, tell: (text: string) => void) {
    this.#clock = clock;
    this.#tell = tell;
  }

  /** What is seen now, again and again; null when nothing is waited for. */
  see(text: string | null): void {
    const nowMs = this.#clock.nowMs();
    if (text !== this.#text) {
      this.#text = text;
      this.#sinceMs = nowMs;
      this.#isTold = false;
    } else if (text !== null && !this.#isTold && nowMs - this.#sinceMs >= LONG_MS) {
      this.#isTold = true;
      this.#tell(text);
    }
  }
}
