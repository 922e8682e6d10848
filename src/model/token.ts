import { LockstepError } from './errors.ts';
import { formatLsn, parseLsn } from './lsn.ts';
import type { Lsn } from './lsn.ts';
import { parseTimeline } from './timeline.ts';
import type { Timeline } from './timeline.ts';

/** What a session has seen: a reader at or past `lsn` on `timeline` shows the session its own writes. */
export interface ConsistencyToken {
  readonly timeline: Timeline;
  readonly lsn: Lsn;
}

/** `1-0/16B3748`: short enough for a header or a cookie. */
export function formatToken(token: ConsistencyToken): string {
  return `${token.timeline}-${formatLsn(token.lsn)}`;
}

/** Throws CONFIG_INVALID when the text is not one that {@link formatToken} made. */
export function parseToken(text: string): ConsistencyToken {
  const dash = text.indexOf('-');
  const timeline = Number(text.slice(0, dash));
  if (dash < 1 || !Number.isInteger(timeline)) {
    throw new LockstepError('CONFIG_INVALID', `"${text}" is not a consistency token; expected timeline-LSN.`);
  }
  return { timeline: parseTimeline(timeline), lsn: parseLsn(text.slice(dash + 1)) };
}

/** The token that covers both. On different timelines the newer one wins: the older history is over. */
export function mergeTokens(a: ConsistencyToken, b: ConsistencyToken): ConsistencyToken {
  if (a.timeline !== b.timeline) return a.timeline > b.timeline ? a : b;
  return a.lsn >= b.lsn ? a : b;
}
