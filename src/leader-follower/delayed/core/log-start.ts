import type { Lsn } from '../../../model/lsn.ts';
import { sharedUntil } from '../../../model/timeline.ts';
import type { Timeline, TimelineFork, TimelineHistory } from '../../../model/timeline.ts';

export interface LogStartView {
  /** The newest timeline in the archive and where its newest segment begins; null while it is empty. */
  readonly newest: { readonly history: TimelineHistory; readonly segmentStart: Lsn } | null;
  /** What an empty archive must begin with: PostgreSQL here has replayed up to there. */
  readonly needed: { readonly timeline: Timeline; readonly lsn: Lsn } | null;
  readonly source: TimelineHistory;
  /** What the source has just sent all there is of; null before anything. */
  readonly ended: Timeline | null;
}

/** Where to go on receiving, and what has to leave the archive before. */
export type LogStart =
  | { readonly kind: 'wait'; readonly reason: string }
  | {
      readonly kind: 'stream';
      readonly timeline: Timeline;
      readonly from: Lsn;
      /** The source's history left the archive's own at this point; null when it holds nothing else. */
      readonly cut: TimelineFork | null;
    };

/**
 * Where to go on: at the beginning of the newest segment, or, when the source has left that timeline before it, of the
 * one in which the fork is. Everything past a fork is no part of the cluster's history, and must be gone before
 * PostgreSQL could replay it. `segmentBytes` is the size of a segment.
 */
export function decideLogStart(view: LogStartView, segmentBytes: bigint): LogStart {
  const startOf = (lsn: Lsn): Lsn => (lsn - (lsn % segmentBytes)) as Lsn;
  const { newest, needed, source, ended } = view;
  if (newest === null) {
    if (needed === null) return { kind: 'wait', reason: 'PostgreSQL has not told yet where it is' };
    return { kind: 'stream', timeline: needed.timeline, from: startOf(needed.lsn), cut: null };
  }
  const cut = sharedUntil(newest.history, source);
  if (cut === null)
    return { kind: 'stream', timeline: source.timeline, from: newest.segmentStart, cut: null };
  // A timeline that ends where a segment does leaves nothing of the next one, however often it is taken.
  const hasRest = newest.segmentStart < startOf(cut.forkedAt) && ended !== cut.timeline;
  if (cut.timeline === newest.history.timeline && hasRest) {
    // The source holds its ancestors' log too: first the rest of that.
    return { kind: 'stream', timeline: cut.timeline, from: newest.segmentStart, cut };
  }
  const next = timelineAfter(source, cut.timeline);
  return { kind: 'stream', timeline: next, from: startOf(cut.forkedAt), cut };
}

/** Whether what was replayed up to a position of a timeline is all part of a history. */
export function isWithin(
  { timeline, ancestors }: TimelineHistory,
  replayed: { readonly timeline: number; readonly lsn: Lsn },
): boolean {
  if (replayed.timeline === timeline) return true;
  return ancestors.some((fork) => fork.timeline === replayed.timeline && replayed.lsn <= fork.forkedAt);
}

/** The timeline that follows on `timeline` in a history. */
function timelineAfter(history: TimelineHistory, timeline: Timeline): Timeline {
  const path = [...history.ancestors.map((ancestor) => ancestor.timeline), history.timeline];
  return path[path.indexOf(timeline) + 1] ?? history.timeline;
}
