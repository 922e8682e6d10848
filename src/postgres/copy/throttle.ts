import { machineClock } from '../../clock/machine-clock.ts';
import type { Clock } from '../../model/clock.ts';

/** A small database is there before anybody notices. */
const AT_ONCE_BYTES = 128 * 1_048_576;
/** Not for each piece: timers are late by about a millisecond. */
const LEAST_PAUSE_MS = 20;

/** Lets so many bytes through a second, past the first 128 MB: who reads no sooner holds the sender back, too. */
export class Throttle {
  readonly #bytesPerSecond: number;
  readonly #clock: Pick<Clock, 'nowMs' | 'sleep'>;
  readonly #beganAtMs: number;
  #bytes = 0;

  constructor(bytesPerSecond: number, clock: Pick<Clock, 'nowMs' | 'sleep'> = machineClock) {
    this.#bytesPerSecond = bytesPerSecond;
    this.#clock = clock;
    this.#beganAtMs = clock.nowMs();
  }

  /** Resolves when these bytes may be taken. */
  async take(bytes: number): Promise<void> {
    this.#bytes += bytes;
    const dueMs = (Math.max(0, this.#bytes - AT_ONCE_BYTES) / this.#bytesPerSecond) * 1_000;
    const aheadMs = this.#beganAtMs + dueMs - this.#clock.nowMs();
    if (aheadMs > LEAST_PAUSE_MS) await this.#clock.sleep(aheadMs);
  }
}
