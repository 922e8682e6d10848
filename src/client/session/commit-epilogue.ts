import type { SynchronousCommit } from '../../model/durability.ts';
import type { LockstepError } from '../../model/errors.ts';
import type { NodeKey } from '../../model/node.ts';
import type { ExchangeReport } from '../../wire/contract.ts';
import type { TopologyMonitor } from '../cluster/topology-monitor.ts';
import type { Traffic } from '../cluster/traffic.ts';
import { commitUnknown, durabilityTimeout } from '../app/failures.ts';
import { LEADER_QUESTION, readLeaderAnswer } from './gate.ts';
import { learnFromLeader } from './leader-answers.ts';
import type { SessionState } from './session-state.ts';

/** Moves a session on by a statement that took effect on the leader; `report` is null when its wait was given up. */
export function learnFromEffect(
  session: SessionState,
  monitor: TopologyMonitor,
  report: ExchangeReport | null,
  { level, isWrite, startedAtMs }: Effect,
): void {
  const position = readLeaderAnswer(report?.answerOf(LEADER_QUESTION.name) ?? null, level);
  const waitedAt = report === null || report.isSyncWaitCancelled ? null : level;
  learnFromLeader(session, monitor, position, { startedAtMs, isWrite, waitedAt });
}

interface Effect {
  /** What its commit was asked to wait for; null for the server's setting. */
  readonly level: SynchronousCommit | null;
  readonly isWrite: boolean;
  readonly startedAtMs: number;
}

/** Throws DURABILITY_TIMEOUT (applied) for a commit that no follower confirmed within `limitMs`, or whose server gave up the wait. */
export function refuseUnconfirmed(
  monitor: TopologyMonitor,
  node: NodeKey,
  report: ExchangeReport | null,
  limitMs: number,
): asserts report is ExchangeReport {
  if (report === null) throw durabilityTimeout(monitor.nameOf(node), 'limit', limitMs);
  if (report.isSyncWaitCancelled) throw durabilityTimeout(monitor.nameOf(node), 'cancelled', 0);
}

/** COMMIT_UNKNOWN for a commit whose answer was lost, of which the server is asked at once how it is. */
export function lostAnswer(
  { monitor, traffic }: { readonly monitor: TopologyMonitor; readonly traffic: Traffic },
  node: NodeKey,
  cause: Error,
): LockstepError {
  void monitor.probeNow(node);
  traffic.counts.unknownOutcomes += 1;
  return commitUnknown(monitor.nameOf(node), cause);
}
