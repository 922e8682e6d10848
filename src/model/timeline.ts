import { LockstepError } from './errors.ts';
import { parseLsn } from './lsn.ts';
import type { Lsn } from './lsn.ts';

/** A PostgreSQL timeline id. A promotion starts a new one that forks off its parent at some LSN. */
export type Timeline = number & { readonly __brand: 'Timeline' };

/** One ancestor: history on `timeline` is shared up to `forkedAt`, then left. */
export interface TimelineFork {
  readonly timeline: Timeline;
  readonly forkedAt: Lsn;
}

/** A timeline with its ancestors, oldest first, as a `.history` file holds them. */
export interface TimelineHistory {
  readonly timeline: Timeline;
  readonly ancestors: readonly TimelineFork[];
}

/** Checks and brands a timeline id (1 to 2^32 - 1). Throws CONFIG_INVALID. */
export function parseTimeline(value: number): Timeline {
  if (!Number.isInteger(value) || value < 1 || value > 0xffffffff) {
    throw new LockstepError(
      'CONFIG_INVALID',
      `${value} is not a timeline id; expected a whole number from 1.`,
    );
  }
  return value as Timeline;
}

/** The number that PostgreSQL takes when it is promoted and knows of `newest`. */
export function nextTimeline(newest: Timeline): Timeline {
  return parseTimeline(newest + 1);
}

/**
 * Parses the text of a timeline history file (`00000002.history`): lines of
 * "parent timeline, switch point, reason". Source: PostgreSQL documentation, "Timelines".
 */
export function parseTimelineHistory(timeline: Timeline, text: string): TimelineHistory {
  const ancestors: TimelineFork[] = [];
  for (const line of text.split('\n')) {
    const match = /^\s*(\d+)\s+([0-9A-Fa-f]+\/[0-9A-Fa-f]+)/.exec(line);
    if (!match) continue;
    ancestors.push({ timeline: parseTimeline(Number(match[1])), forkedAt: parseLsn(match[2] ?? '') });
  }
  return { timeline, ancestors };
}

/**
 * Up to where two histories are one: the timeline and the position there, or null when they are the same
 * history. Compared by ancestry, never by number: two promotions that knew nothing of each other may have
 * given one number to two timelines.
 */
export function sharedUntil(a: TimelineHistory, b: TimelineHistory): TimelineFork | null {
  let shared: TimelineFork = { timeline: parseTimeline(1), forkedAt: 0n as Lsn };
  for (let index = 0; ; index++) {
    const [left, right] = [stepOf(a, index), stepOf(b, index)];
    if (left.timeline !== right.timeline) return shared;
    if (left.forkedAt === null && right.forkedAt === null) return null;
    if (left.forkedAt !== right.forkedAt) {
      const ends = [left.forkedAt, right.forkedAt].filter((end) => end !== null);
      return { timeline: left.timeline, forkedAt: ends.reduce((end, other) => (other < end ? other : end)) };
    }
    shared = { timeline: left.timeline, forkedAt: left.forkedAt ?? shared.forkedAt };
  }
}

/** The steps of a history: its ancestors, then its own timeline, which has no end. */
function stepOf(
  history: TimelineHistory,
  index: number,
): { readonly timeline: Timeline; readonly forkedAt: Lsn | null } {
  return history.ancestors[index] ?? { timeline: history.timeline, forkedAt: null };
}

/** Whether a node that ends at `lsn` of `local` holds only what `history` shares, so that it may stream from there. */
export function isSharedHistory(history: TimelineHistory, local: TimelineHistory, lsn: Lsn): boolean {
  const shared = sharedUntil(history, local);
  return shared === null || (shared.timeline === local.timeline && lsn <= shared.forkedAt);
}
