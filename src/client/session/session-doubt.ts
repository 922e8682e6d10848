import { isSynchronous } from '../../model/durability.ts';
import type { SynchronousCommit } from '../../model/durability.ts';
import { formatLsn } from '../../model/lsn.ts';
import { parseTimeline } from '../../model/timeline.ts';
import { formatToken } from '../../model/token.ts';
import { judgeWrite } from '../cluster/core/lost-write.ts';
import type { UnconfirmedWrite } from '../cluster/core/lost-write.ts';
import { UNREACHED_LSN } from './core/session.ts';
import type { Leadership } from '../cluster/core/topology.ts';
import { writeLost } from '../failures.ts';
import type { LeaderPosition } from './gate.ts';
import type { SessionState } from './session-state.ts';
import type { TopologyMonitor } from '../cluster/topology.ts';

/** Whether history has moved on past a write of the session's that no follower had confirmed. */
export function isInDoubt({ unconfirmedWrite }: SessionState, { timeline }: Leadership): boolean {
  return unconfirmedWrite !== null && unconfirmedWrite.timeline < timeline;
}

/**
 * Settles what a session's past leaves open, before its next statement is sent. Throws WRITE_LOST, once,
 * when a failover took its newest write back, or may have.
 */
export async function settleSession(session: SessionState, monitor: TopologyMonitor): Promise<void> {
  for (;;) {
    const write = session.unconfirmedWrite;
    if (write === null || !isInDoubt(session, monitor.leadership)) break;
    if (tryToSettle(session, write, monitor)) break;
    await monitor.nextChange(100);
  }
  if (session.claim !== null && session.claim.timeline > monitor.leadership.timeline)
    await examineClaim(session, monitor);
}

/** False while it is about to be told where history forked. */
function tryToSettle(session: SessionState, write: UnconfirmedWrite, monitor: TopologyMonitor): boolean {
  const fork = monitor.forkOf(write.timeline);
  if (fork === null) return false;
  session.settleWrite();
  const fate = judgeWrite(write, fork);
  if (fate === 'kept') return true;
  const isExact = fork.atLeast !== null && fork.atLeast === fork.atMost;
  const forkedAt = isExact && fork.atLeast !== null ? formatLsn(fork.atLeast) : null;
  throw writeLost(formatToken(write), { timeline: monitor.leadership.timeline, forkedAt }, fate === 'lost');
}

/**
 * A session is said to have seen a timeline that this process does not know: another process may have seen
 * the failover first, or somebody made it up. When every server answers a question asked from now on, and
 * none of them is that far, nobody can have seen it.
 */
async function examineClaim(session: SessionState, monitor: TopologyMonitor): Promise<void> {
  const { claim } = session;
  // A probe under way was asked earlier; the one after it is new.
  for (let round = 0; round < 2; round += 1)
    await Promise.all(monitor.view.map(({ key }) => monitor.probeNow(key)));
  const { leadership, view } = monitor;
  if (claim === null || claim !== session.claim || leadership.leader === null) return;
  const areAllOlder = view.every(
    ({ isUp, lsn, timeline }) => isUp && lsn !== null && (timeline ?? 0) < claim.timeline,
  );
  if (areAllOlder && leadership.timeline < claim.timeline) session.disprove();
}

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
  position: LeaderPosition | null,
  startedAtMs: number,
): void {
  for (const each of [session, session.shared]) {
    if (each === null || position === null) continue;
    each.heardFromLeader(performance.now());
    each.advance(position, startedAtMs);
  }
}

/**
 * Moves a session on when a query object that sent itself has ended: it may have written, and nothing could be
 * asked behind it.
 */
export function learnFromUnasked(session: SessionState, { leadership }: TopologyMonitor): void {
  for (const each of [session, session.shared])
    each?.advanceBeyondKnowledge(leadership.timeline, performance.now());
}

function moveOn(
  session: SessionState,
  monitor: TopologyMonitor,
  position: LeaderPosition | null,
  { startedAtMs, isWrite, waitedAt }: LeaderAnswerContext,
): void {
  if (position !== null) synchronousOn.set(monitor, position.hasStandbys ? position.timeline : 0);
  session.heardFromLeader(performance.now());
  const after = isWrite ? monitor.leaderSeenBefore(startedAtMs) : null;
  if (position !== null) {
    session.advance(position, startedAtMs);
    if (!isWrite) return;
    const { timeline, lsn, isConfirmed } = position;
    if (isConfirmed) session.wroteConfirmed(startedAtMs);
    else session.wroteUnconfirmed({ timeline, lsn, after }, performance.now());
    return;
  }
  const { timeline } = monitor.leadership;
  session.advanceBeyondKnowledge(timeline, performance.now());
  // The connection broke behind an acknowledged commit: what it waited for is known, only its position is not.
  const isConfirmed = waitedAt !== null && isSynchronous(waitedAt) && synchronousOn.get(monitor) === timeline;
  if (isWrite && isConfirmed) return session.wroteConfirmed(startedAtMs);
  const write = { timeline: parseTimeline(timeline), lsn: UNREACHED_LSN, after };
  if (isWrite) session.wroteUnconfirmed(write, performance.now());
}
