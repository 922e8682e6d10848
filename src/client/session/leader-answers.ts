import { isSynchronous } from '../../model/durability.ts';
import type { SynchronousCommit } from '../../model/durability.ts';
import { parseTimeline } from '../../model/timeline.ts';
import { UNREACHED_LSN } from './core/session.ts';
import type { LeaderPosition } from './gate.ts';
import type { SessionState } from './session-state.ts';
import type { TopologyMonitor } from '../cluster/topology-monitor.ts';

/** The timeline on which the leader last said that synchronous commits wait for a follower; 0 for none. */
const synchronousOn = new WeakMap<TopologyMonitor, number>();

interface LeaderAnswerContext {
  readonly startedAtMs: number;
  readonly isWrite: boolean;
  /** The durability that was asked for, where the commit was acknowledged; null where it was not, or none was. */
  readonly waitedAt: SynchronousCommit | null;
}

/**
 * Whether the leader is asked for its position behind a statement. A session that never goes back learns from each
 * answer; one for writes alone only from writes, and from what settles a write of unknown position. Where no
 * follower could answer, it is enough to know that there was one.
 */
export function asksLeader(
  session: SessionState | null,
  { leadership, view }: TopologyMonitor,
  isWrite: boolean,
): boolean {
  if (session === null) return false;
  if (session.isMonotonic) return true;
  if (!isWrite && !session.isOpen(leadership.timeline)) return false;
  return view.some(({ role, isUp, lsn }) => role === 'follower' && isUp && lsn !== null);
}

/**
 * Moves a session on by what the leader told behind a statement; `position` is null when it did not tell,
 * which is the case when the wait for followers was given up.
 */
export function learnFromLeader(
  session: SessionState,
  monitor: TopologyMonitor,
  position: LeaderPosition | null,
  context: LeaderAnswerContext,
): void {
  moveOn(session, monitor, position, context);
  if (context.isWrite && session.shared !== null) moveOn(session.shared, monitor, position, context);
}

/**
 * Moves a session on by a statement that the leader refused: what it ran into, such as a row of another's that is
 * there already, is to be shown as well.
 */
export function learnFromRefusal(
  session: SessionState,
  { clock }: TopologyMonitor,
  position: LeaderPosition | null,
  startedAtMs: number,
): void {
  for (const each of [session, session.shared]) {
    if (each === null || position === null) continue;
    each.heardFromLeader(clock.nowMs());
    each.advance(position, startedAtMs);
  }
}

/**
 * Moves a session on when a query object that sent itself has ended: it may have written, and nothing could be
 * asked behind it.
 */
export function learnFromSubmitted(session: SessionState, { leadership, clock }: TopologyMonitor): void {
  for (const each of [session, session.shared])
    each?.advanceBeyondKnowledge(leadership.timeline, clock.nowMs());
}

function moveOn(
  session: SessionState,
  monitor: TopologyMonitor,
  position: LeaderPosition | null,
  { startedAtMs, isWrite, waitedAt }: LeaderAnswerContext,
): void {
  if (position !== null) synchronousOn.set(monitor, position.hasStandbys ? position.timeline : 0);
  session.heardFromLeader(monitor.clock.nowMs());
  const after = isWrite ? monitor.leaderSeenBefore(startedAtMs) : null;
  if (position !== null) {
    session.advance(position, startedAtMs);
    if (!isWrite) return;
    const { timeline, lsn, isConfirmed } = position;
    if (isConfirmed) session.wroteConfirmed(startedAtMs);
    else session.wroteUnconfirmed({ timeline, lsn, after }, monitor.clock.nowMs());
    return;
  }
  const { timeline } = monitor.leadership;
  session.advanceBeyondKnowledge(timeline, monitor.clock.nowMs());
  // The connection broke behind an acknowledged commit: what it waited for is known, only its position is not.
  const isConfirmed = waitedAt !== null && isSynchronous(waitedAt) && synchronousOn.get(monitor) === timeline;
  if (isWrite && isConfirmed) return session.wroteConfirmed(startedAtMs);
  const write = { timeline: parseTimeline(timeline), lsn: UNREACHED_LSN, after };
  if (isWrite) session.wroteUnconfirmed(write, monitor.clock.nowMs());
}
