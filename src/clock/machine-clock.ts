import type { Clock } from '../model/clock.ts';
import { systemClock } from './system-clock.ts';

/**
 * The machine's monotonic clock (CLOCK_MONOTONIC) as every process of the machine reads it, so that an agent may tell its
 * watchdog a time. It is untouched by changes of the time of day.
 */
export const machineClock: Clock = {
  ...systemClock,
  nowMs: () => Number(process.hrtime.bigint() / 1_000n) / 1_000,
};
