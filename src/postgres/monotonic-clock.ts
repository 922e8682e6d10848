/**
 * Milliseconds on the machine's monotonic clock (CLOCK_MONOTONIC): the same clock in every process of one
 * machine, untouched by changes of the time of day. It has no meaning on another machine.
 */
export function monotonicMs(): number {
  return Number(process.hrtime.bigint() / 1_000n) / 1_000;
}
