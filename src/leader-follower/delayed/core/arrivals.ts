import type { Lsn } from '../../../model/lsn.ts';

/** When the log had come up to a position. */
export interface Arrival {
  readonly lsn: Lsn;
  readonly atMs: number;
}

/** That many tell the age of any position to a part in a thousand of the whole. */
const MAX_ARRIVALS = 2_000;

/** The arrivals with one more, and without those that are no longer needed to tell the age of `replayed`. */
export function addArrival(
  arrivals: readonly Arrival[],
  arrival: Arrival,
  replayed: Lsn | null,
): readonly Arrival[] {
  const last = arrivals.at(-1);
  const grown = last !== undefined && last.lsn >= arrival.lsn ? arrivals : [...arrivals, arrival];
  const kept = replayed === null ? grown : grown.filter(({ lsn }) => lsn > replayed);
  // Every second one, so that old and new are told alike.
  return kept.length <= MAX_ARRIVALS ? kept : kept.filter((_, index) => index % 2 === 0);
}

/** How long ago the oldest log came that is not replayed yet, in milliseconds; 0 when there is none, null when it is not known. */
export function oldestUnreplayedMs(
  arrivals: readonly Arrival[],
  replayed: Lsn,
  received: Lsn,
  nowMs: number,
): number | null {
  if (received <= replayed) return 0;
  const oldest = arrivals.find(({ lsn }) => lsn > replayed);
  return oldest === undefined ? null : Math.max(0, nowMs - oldest.atMs);
}
