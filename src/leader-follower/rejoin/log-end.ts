import type { Lsn } from '../../model/lsn.ts';
import type { Timeline, TimelineHistory } from '../../model/timeline.ts';

/** Where this node's log ends, read once nothing more could arrive. */
export interface LogEnd {
  readonly history: TimelineHistory;
  readonly receivedLsn: Lsn;
  readonly replayedLsn: Lsn;
  /** The newest number that PostgreSQL knows of here, of its own history or of a leader's that it began to follow. */
  readonly newestTimeline: Timeline;
}
