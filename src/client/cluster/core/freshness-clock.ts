import type { Lsn } from '../../../model/lsn.ts';

/** Where the leader's log ended at the earliest when it was asked at `askedAtMs`. */
export interface LeaderSample {
  readonly lsn: Lsn;
  readonly askedAtMs: number;
}

/** A minute at the usual interval; a follower further behind is of unknown age. */
const MAX_SAMPLES = 240;

/** The samples with one more; positions of one leader only grow. */
export function addSample(samples: readonly LeaderSample[], sample: LeaderSample): readonly LeaderSample[] {
  return [...samples.slice(1 - MAX_SAMPLES), sample];
}

/**
 * A position that the log surely had before `atMs`. The last question before it may have been answered
 * later; the one before that was answered when the last was asked.
 */
export function seenBefore(samples: readonly LeaderSample[], atMs: number): Lsn | null {
  for (let index = samples.length - 1; index > 0; index -= 1) {
    const sample = samples[index];
    if (sample !== undefined && sample.askedAtMs <= atMs) return samples[index - 1]?.lsn ?? null;
  }
  return null;
}

/**
 * The latest time as of which a follower at `lsn` surely shows everything that the leader had committed by
 * then; null when that is longer ago than the samples reach. It needs no clock but the caller's own.
 */
export function freshAsOf(samples: readonly LeaderSample[], lsn: Lsn): number | null {
  for (let index = samples.length - 1; index >= 0; index -= 1) {
    const sample = samples[index];
    if (sample !== undefined && sample.lsn <= lsn) return sample.askedAtMs;
  }
  return null;
}
