import { parseLsn } from '../../../model/lsn.ts';
import type { Lsn } from '../../../model/lsn.ts';
import { parseTimeline } from '../../../model/timeline.ts';
import type { Timeline, TimelineHistory } from '../../../model/timeline.ts';

/** As far as followers had replayed what this node wrote on a timeline as their leader: its own log goes on at least to there. */
export interface ShownLog {
  readonly timeline: Timeline;
  readonly lsn: Lsn;
}

interface End {
  readonly history: TimelineHistory;
  readonly receivedLsn: Lsn;
  readonly replayedLsn: Lsn;
}

/**
 * Whether a log that ends here lacks what it had once: its data were put back from a copy. Only on that very timeline, since a node that
 * followed another one meanwhile may have been rewound.
 */
export function lacksShown({ history, receivedLsn, replayedLsn }: End, shown: ShownLog | null): boolean {
  if (shown === null || history.timeline !== shown.timeline) return false;
  return receivedLsn < shown.lsn && replayedLsn < shown.lsn;
}

/** The furthest that a follower has replayed on the leader's timeline; null when none says so. */
export function shownBy(
  timeline: Timeline,
  followers: readonly { readonly timeline: Timeline | null; readonly replayedLsn: Lsn | null }[],
): Lsn | null {
  let furthest: Lsn | null = null;
  for (const follower of followers) {
    if (follower.timeline !== timeline || follower.replayedLsn === null) continue;
    if (furthest === null || follower.replayedLsn > furthest) furthest = follower.replayedLsn;
  }
  return furthest;
}

/** Null for what was not written by {@link renderShown}. */
export function parseShown(text: string): ShownLog | null {
  const [, timeline, lsn] = /^(\d{1,10}) ([0-9A-F]{1,8}\/[0-9A-F]{1,8})\n$/.exec(text) ?? [];
  if (timeline === undefined || lsn === undefined) return null;
  return { timeline: parseTimeline(Number(timeline)), lsn: parseLsn(lsn) };
}

export function renderShown(timeline: Timeline, lsn: string): string {
  return `${timeline} ${lsn}\n`;
}
