/**
 * How many microseconds the target's clock lacks before a batch may be applied; 0 when it may. Strictly past it: what is
 * written here afterwards must be later than what it has seen, also with clocks apart.
 */
export function clockLackUs(nowUs: number, highestUs: number): number {
  return nowUs > highestUs ? 0 : highestUs - nowUs + 1;
}
