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

/** What a session hands on to the next process. */
export interface SessionToken {
  readonly seen: ConsistencyToken;
  /** Its newest write that waited for no follower, which a failover may take back; null without one. */
  readonly unconfirmed: ConsistencyToken | null;
}

/** `1-0/16B3748`, and `-1-0/16B3700` behind it for an unconfirmed write: short enough for a cookie. */
export function formatSessionToken({ seen, unconfirmed }: SessionToken): string {
  return unconfirmed === null ? formatToken(seen) : `${formatToken(seen)}-${formatToken(unconfirmed)}`;
}

/** `1-0/16B3748`. */
export function formatToken({ timeline, lsn }: ConsistencyToken): string {
  return `${timeline}-${formatLsn(lsn)}`;
}

/** Throws CONFIG_INVALID when the text is not one that {@link formatSessionToken} made. */
export function parseSessionToken(text: string): SessionToken {
  const parts = text.split('-');
  if (parts.length !== 2 && parts.length !== 4) throw notAToken(text);
  const [timeline = '', lsn = '', writeTimeline, writeLsn = ''] = parts;
  return {
    seen: parsePart(timeline, lsn, text),
    unconfirmed: writeTimeline === undefined ? null : parsePart(writeTimeline, writeLsn, text),
  };
}

function parsePart(timeline: string, lsn: string, text: string): ConsistencyToken {
  if (!/^\d{1,10}$/.test(timeline)) throw notAToken(text);
  return { timeline: parseTimeline(Number(timeline)), lsn: parseLsn(lsn) };
}

/** Throws CONFIG_INVALID when the text is not one that {@link formatToken} made. */
export function parseToken(text: string): ConsistencyToken {
  const { seen, unconfirmed } = parseSessionToken(text);
  if (unconfirmed !== null) throw notAToken(text);
  return seen;
}

function notAToken(text: string): LockstepError {
  return new LockstepError('CONFIG_INVALID', `"${text}" is not a consistency token; expected timeline-LSN.`);
}

/** The token that covers both. On different timelines the newer one wins: the older history is over. */
export function mergeTokens(a: ConsistencyToken, b: ConsistencyToken): ConsistencyToken {
  if (a.timeline !== b.timeline) return a.timeline > b.timeline ? a : b;
  return a.lsn >= b.lsn ? a : b;
}

/** The token that covers both. Of two writes the one on the older timeline is in doubt sooner. */
export function mergeSessionTokens(a: SessionToken, b: SessionToken): SessionToken {
  return { seen: mergeTokens(a.seen, b.seen), unconfirmed: mergeWrites(a.unconfirmed, b.unconfirmed) };
}

function mergeWrites(a: ConsistencyToken | null, b: ConsistencyToken | null): ConsistencyToken | null {
  if (a === null || b === null) return a ?? b;
  if (a.timeline !== b.timeline) return a.timeline < b.timeline ? a : b;
  return a.lsn >= b.lsn ? a : b;
}
