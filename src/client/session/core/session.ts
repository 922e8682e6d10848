import type { Lsn } from '../../../model/lsn.ts';
import { mergeTokens } from '../../../model/token.ts';
import type { ConsistencyToken } from '../../../model/token.ts';
import type { Watermark } from '../../cluster/core/watermark.ts';

/** A position that no server reaches: stands for "newer than anything known" on its timeline. */
export const UNREACHED_LSN: Lsn = 0xffffffffffffffffn as Lsn;

/**
 * What must be checked before a follower's connection may answer a session: nothing, whether it is far
 * enough (`look`), or that, waiting a little for it (`wait`). Waiting is what costs more.
 */
export type FreshnessCheck = 'none' | 'look' | 'wait';

/**
 * Whether a follower can be judged for a token at all. An LSN on another timeline proves nothing: a
 * follower that replayed more of the old leader's log than the new leader had would look far enough. Where
 * no follower timeline is proven, only the first timeline is safe, since nothing ever forked from it.
 */
export function isComparable(token: ConsistencyToken, followerTimeline: number | null): boolean {
  return followerTimeline === null ? token.timeline === 1 : followerTimeline === token.timeline;
}

/**
 * Whether this connection surely shows the token's state already. Replay positions only grow while a
 * server runs, but a follower that crashed may come back at an earlier one. A connection does not survive
 * that, so a watermark counts only when it was asked for after the connection was opened. `tokenAgeMs` is
 * how long ago the token moved.
 */
export function decideFreshness(
  token: ConsistencyToken | null,
  watermark: Watermark | null,
  connectionOpenedAtMs: number,
  tokenAgeMs: number,
): FreshnessCheck {
  if (token === null) return 'none';
  const isWatermarkValid = watermark !== null && watermark.observedAtMs >= connectionOpenedAtMs;
  if (isWatermarkValid && watermark.lsn >= token.lsn) return 'none';
  return tokenAgeMs < USUAL_LAG_MS ? 'wait' : 'look';
}

/** What was written longer ago than this is nearly always on a follower that keeps up. */
const USUAL_LAG_MS = 5;

/** The token after the session has seen a state up to `seen`. It never moves back on its timeline. */
export function advanceToken(current: ConsistencyToken | null, seen: ConsistencyToken): ConsistencyToken {
  return current === null ? seen : mergeTokens(current, seen);
}

/**
 * What an answer of the leader's says about a position that a session is said to have seen before: on the
 * same timeline, its log must have been past it. `end` is where that ends.
 */
export function judgeUnproven(
  unproven: ConsistencyToken,
  timeline: number,
  end: Lsn,
): 'true' | 'false' | 'open' {
  if (timeline !== unproven.timeline) return timeline > unproven.timeline ? 'true' : 'open';
  return unproven.lsn <= end ? 'true' : 'false';
}

/**
 * The position that a write at the end of the log must be waited for. An insert position right behind a
 * page header is one that no follower ever reports: the record before it ended at the page's start, and
 * replay stops there. Source: PostgreSQL, `XLogBytePosToRecPtr` against `XLogBytePosToEndRecPtr`.
 */
export function endOfLastRecord(insertLsn: Lsn, walSegmentBytes: number): Lsn {
  const isBehindLongHeader = insertLsn % BigInt(walSegmentBytes) === LONG_PAGE_HEADER_BYTES;
  if (isBehindLongHeader) return (insertLsn - LONG_PAGE_HEADER_BYTES) as Lsn;
  const isBehindHeader = insertLsn % PAGE_BYTES === PAGE_HEADER_BYTES;
  return isBehindHeader ? ((insertLsn - PAGE_HEADER_BYTES) as Lsn) : insertLsn;
}

const PAGE_BYTES = 8192n;
const PAGE_HEADER_BYTES = 24n;
const LONG_PAGE_HEADER_BYTES = 40n;
