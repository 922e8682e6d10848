import { formatLsn } from '../../model/lsn.ts';
import { formatToken } from '../../model/token.ts';
import { judgeWrite } from '../cluster/core/lost-write.ts';
import type { UnconfirmedWrite } from '../cluster/core/lost-write.ts';
import type { Leadership } from '../cluster/core/leadership.ts';
import type { TopologyMonitor } from '../cluster/topology-monitor.ts';
import { writeLost } from '../app/failures.ts';
import type { SessionState } from './session-state.ts';

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
  if (session.unproven !== null && session.unproven.timeline > monitor.leadership.timeline)
    await examineUnproven(session, monitor);
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
async function examineUnproven(session: SessionState, monitor: TopologyMonitor): Promise<void> {
  const { unproven } = session;
  // A probe under way was asked earlier; the one after it is new.
  for (let round = 0; round < 2; round += 1)
    await Promise.all(monitor.view.map(({ key }) => monitor.probeNow(key)));
  const { leadership, view } = monitor;
  if (unproven === null || unproven !== session.unproven || leadership.leader === null) return;
  const areAllOlder = view.every(
    ({ isUp, lsn, timeline }) => isUp && lsn !== null && (timeline ?? 0) < unproven.timeline,
  );
  if (areAllOlder && leadership.timeline < unproven.timeline) session.disprove();
}
