/** The value below which `share` (0 to 1) of the sorted values lie, by the nearest rank. Throws on none. */
export function percentile(sorted: ArrayLike<number>, share: number): number {
  if (sorted.length === 0) throw new RangeError('There is no percentile of no values.');
  const rank = Math.max(1, Math.ceil(share * sorted.length));
  return sorted[rank - 1] as number;
}

/** The middle value; between two middle values their mean. Throws on none. */
export function median(values: readonly number[]): number {
  if (values.length === 0) throw new RangeError('There is no median of no values.');
  const sorted = values.toSorted((a, b) => a - b);
  const upper = Math.floor(sorted.length / 2);
  const high = sorted[upper] as number;
  return sorted.length % 2 === 1 ? high : ((sorted[upper - 1] as number) + high) / 2;
}

/** A median, and the quartiles around it. */
export interface Spread {
  readonly low: number;
  readonly median: number;
  readonly high: number;
}

/**
 * How many times as much as `theirs` the values of `ours` are, round by round. Neighbours in time share the
 * machine's mood, so the median of their ratios is steadier than the ratio of the medians.
 */
export function medianRatio(ours: readonly number[], theirs: readonly number[]): Spread {
  if (ours.length !== theirs.length) throw new RangeError('Ratios need as many values on both sides.');
  const ratios = ours.map((value, index) => value / (theirs[index] as number)).sort((a, b) => a - b);
  return { low: percentile(ratios, 0.25), median: median(ratios), high: percentile(ratios, 0.75) };
}
