import type { ColumnRule } from './core/merge.ts';

/** How the values of one column become one when several regions changed it. */
export interface ColumnMerge {
  readonly rule: ColumnRule | 'priority';
  /** Of {@link regionPriority}: names of regions, the first one wins. */
  readonly order?: readonly string[] | undefined;
  /** Of {@link escrow}: what no region goes below. */
  readonly min?: number | undefined;
}

/** By column; `*` for those that are not named, by default {@link lastWriteWins}. */
export type TableRules<Row = Readonly<Record<string, unknown>>> = {
  readonly [Column in Extract<keyof Row, string> | '*']?: ColumnMerge;
};

/** Of two writes of the column the later one stays. */
export function lastWriteWins(): ColumnMerge {
  return { rule: 'last' };
}

/**
 * Differences add up: two regions that each add 1 make it 2 more. For integers and numeric. A difference that is older
 * than the row's last insert or delete goes with it.
 */
export function counter(): ColumnMerge {
  return { rule: 'counter' };
}

/** What any region added to an array is in it, and what it took out is not, by the later of the two. */
export function set(): ColumnMerge {
  return { rule: 'set' };
}

/** The largest value that any region wrote stays. For integers and numeric. */
export function max(): ColumnMerge {
  return { rule: 'max' };
}

/** The smallest value that any region wrote stays. For integers and numeric. */
export function min(): ColumnMerge {
  return { rule: 'min' };
}

/**
 * A number of which each region holds a part, such as what is in stock: its column has this region's part, and what the
 * app does with it, such as `SET quantity = quantity - 1 WHERE quantity > 0`, never touches another region's. Regions that
 * have more give to those that have less. For integers. `min`: what no region gives below; default 0.
 */
export function escrow(options: { readonly min?: number } = {}): ColumnMerge {
  return { rule: 'escrow', min: options.min ?? 0 };
}

/**
 * Of two writes of the column of which neither had seen the other, that of the region that comes first in the list stays,
 * whichever was later; those that are not named come last. A write that had seen the other one is no conflict. Until every
 * region has promised to send nothing older the later write is to be seen.
 */
export function regionPriority(order: readonly string[]): ColumnMerge {
  return { rule: 'priority', order };
}
