import { parseTimeline } from '../../model/timeline.ts';
import type { Timeline } from '../../model/timeline.ts';
import type { NodeKey } from '../../model/node.ts';
import { exchange } from '../../wire/exchange.ts';
import type { ExchangeReport } from '../../wire/contract.ts';
import { FOLLOWER_QUESTION, readFollowerAnswer } from './gate.ts';
import type { LeaseSource } from '../cluster/lease-source.ts';
import type { Lease } from '../../wire/contract.ts';
import type { SessionState } from './session-state.ts';
import type { TopologyMonitor } from '../cluster/topology-monitor.ts';

/**
 * Moves a session on by what a follower showed. Where it was not asked along with the read how far it was,
 * that is remembered: see {@link askUnasked}.
 */
export function learnFromFollower(
  session: SessionState,
  monitor: TopologyMonitor,
  node: NodeKey,
  report: ExchangeReport,
  startedAtMs: number,
): void {
  const timeline = timelineOf(session, monitor, node);
  const position = readFollowerAnswer(report.answerOf(FOLLOWER_QUESTION.name));
  if (position === null) return session.readUnasked(node, timeline, startedAtMs, monitor.clock.nowMs());
  monitor.observe(node, position.replayed, startedAtMs);
  session.readOnFollower(node, { timeline, lsn: position.bound }, startedAtMs);
  if (position.snapshotEnd !== null) session.sawOnFollower(timeline, position.snapshotEnd);
}

function timelineOf(session: SessionState, monitor: TopologyMonitor, node: NodeKey): Timeline {
  const viewed = monitor.view.find(({ key }) => key === node);
  return session.token?.timeline ?? parseTimeline(viewed?.timeline ?? monitor.leadership.timeline);
}

/**
 * Asks the followers that the session read from, and is about to leave, how far they are: no state that they
 * have shown is past that. From then on the session asks along with each read. A follower that cannot be
 * asked, or was restarted since, leaves the leader as the one that surely shows as much.
 */
export async function askUnasked(
  session: SessionState,
  monitor: TopologyMonitor,
  source: LeaseSource,
  next: NodeKey | null,
): Promise<void> {
  session.asksAlong = true;
  for (const node of session.unaskedBeside(next))
    if (!(await ask(session, monitor, source, node))) giveUp(session, monitor, node);
}

/** Only the leader surely shows what the follower has shown. */
function giveUp(session: SessionState, monitor: TopologyMonitor, node: NodeKey): void {
  session.dropUnasked(node);
  session.advanceBeyondKnowledge(monitor.leadership.timeline, monitor.clock.nowMs());
}

/**
 * Whether this connection may lead to a server that crashed since the session read there, and that came back
 * at an earlier state: the session then goes to the leader.
 */
export function mayHaveGoneBack(session: SessionState, monitor: TopologyMonitor, lease: Lease): boolean {
  if (!session.isUnaskedOn(lease) || isSameServer(session, monitor, lease)) return false;
  giveUp(session, monitor, lease.node);
  return true;
}

function isSameServer(session: SessionState, monitor: TopologyMonitor, lease: Lease): boolean {
  const sinceMs = Math.min(lease.openedAtMs, monitor.sameServerSinceMs(lease.node));
  return sinceMs <= session.readAtMs(lease.node);
}

async function ask(
  session: SessionState,
  monitor: TopologyMonitor,
  source: LeaseSource,
  node: NodeKey,
): Promise<boolean> {
  const lease = await source.acquire(node).catch(() => null);
  if (lease === null) return false;
  const askedAtMs = monitor.clock.nowMs();
  const isSame = isSameServer(session, monitor, lease);
  const report = isSame ? await exchange(lease, { statements: [], before: [FOLLOWER_QUESTION] }) : null;
  source.release(lease, report?.isBroken === true ? (report.error ?? true) : undefined, false);
  const position = report === null ? null : readFollowerAnswer(report.answerOf(FOLLOWER_QUESTION.name));
  if (position === null) return false;
  const timeline = timelineOf(session, monitor, node);
  session.answeredLater(node, { timeline, lsn: position.bound }, askedAtMs);
  if (position.snapshotEnd !== null) session.sawOnFollower(timeline, position.snapshotEnd);
  return true;
}
