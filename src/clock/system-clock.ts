import { setTimeout as delay } from 'node:timers/promises';
import type { Clock } from '../model/clock.ts';

/** The machine's own clock: CLOCK_MONOTONIC as Node gives it, which no change of the time of day moves. */
export const systemClock: Clock = {
  nowMs: () => performance.now(),
  after: (ms, run, keepsProcess = false) => {
    const timer = setTimeout(run, ms);
    if (!keepsProcess) timer.unref();
    return () => clearTimeout(timer);
  },
  sleep: (ms, signal) =>
    signal === undefined ? delay(ms) : delay(ms, undefined, { signal }).catch(() => undefined),
};
