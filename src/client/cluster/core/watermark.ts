import type { Lsn } from '../../../model/lsn.ts';

/** A follower's replay position and the monotonic time at which the question for it was sent. */
export interface Watermark {
  readonly lsn: Lsn;
  readonly observedAtMs: number;
}

/** The watermark after one more answer. */
export function advanceWatermark(current: Watermark | null, observed: Watermark): Watermark {
  return current === null || observed.lsn >= current.lsn ? observed : current;
}
