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
 * Whether a node at (`timeline`, `lsn`) holds only history that `history` shares, so that it may stream
 * from a server on `history` without a rewind. Timelines are compared by ancestry, never by number.
 */
export function isSharedHistory(history: TimelineHistory, timeline: Timeline, lsn: Lsn): boolean {
  if (timeline === history.timeline) return true;
  const fork = history.ancestors.find((ancestor) => ancestor.timeline === timeline);
  return fork !== undefined && lsn <= fork.forkedAt;
}
