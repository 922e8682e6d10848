import { cellId, isNewer } from './cells.ts';
import type { Register } from './cells.ts';

/**
 * A value of siblings is a register of its own, whose field is never used twice: a dot. Who replaces it puts a tombstone
 * there. So a value stays until somebody who saw it replaced it, and two writes that did not see each other both stay.
 */

/** The dots that a read saw, with their times: what a later write replaces. */
export type SeenDots = readonly (readonly [field: string, at: number])[];

/** Values that nobody replaced, the oldest first. `valueOf`: null for one that counts as taken away. */
export function readSiblings(
  registers: readonly Register[],
  valueOf: (register: Register) => string | null,
): readonly Register[] {
  return registers
    .filter((register) => valueOf(register) !== null)
    .toSorted((a, b) => (isNewer(a, b) ? 1 : -1));
}

export function dotsOf(siblings: readonly Register[]): SeenDots {
  return siblings.map((register) => [cellId({ store: 'registers', ...register }), register.at]);
}
