import type { SynchronousCommit } from '../../model/durability.ts';
import type { Lsn } from '../../model/lsn.ts';
import { canFollowOwnStatement, mayWrite } from '../classify/core/classify.ts';
import type { Classification } from '../classify/core/classify.ts';
import { decideFreshness } from '../session/core/session.ts';
import type { FreshnessCheck } from '../session/core/session.ts';
import type { ExchangePlan, ExchangeReport } from '../../wire/contract.ts';
import type { StatementConfig } from './queryable.ts';
import {
  createDurability,
  createGate,
  createLeaderGate,
  FOLLOWER_QUESTION,
  LEADER_QUESTION,
  readGateAnswer,
  readLeaderAnswer,
} from '../session/gate.ts';
import type { TopologyMonitor } from '../cluster/topology-monitor.ts';
import type { FinderParts, NodeRoute } from '../route/node-finder.ts';
import type { Lease } from '../../wire/contract.ts';
import { learnFromEffect } from '../session/commit-epilogue.ts';
import { asksLeader, learnFromRefusal } from '../session/leader-answers.ts';
import { learnFromFollower } from '../session/follower-reads.ts';
import type { FollowerSnapshot, SessionState } from '../session/session-state.ts';

/** What of a statement decides which check rides along, and what is learned from its answer. */
export interface PlannedStatement {
  readonly request: { readonly statement: StatementConfig };
  readonly session: SessionState | null;
  readonly classification: Classification;
  readonly level: SynchronousCommit | null;
  /** Set where the statement is prepared under a name of the pool's. */
  readonly preparedAs: readonly [string] | undefined;
  /** Set once a follower that was only looked at was not far enough: the next one is waited for. */
  readonly hasLooked: boolean;
  /** Set once the leader was not seen to show what a follower had shown: the wait is not repeated. */
  readonly isLeaderGateSpent: boolean;
}

/** What an exchange carries, and which check rides in front. */
export interface CheckedPlan extends ExchangePlan {
  readonly check: FreshnessCheck | 'leader-gate';
  readonly snapshot: FollowerSnapshot | null;
  /** What a follower that passes the check has surely replayed. */
  readonly atLeast: Lsn | null;
}

/** One attempt: where the statement went, and when. */
export interface Attempt {
  readonly route: NodeRoute;
  readonly lease: Lease;
  readonly plan: CheckedPlan;
  readonly startedAtMs: number;
}

const UNCHECKED = { check: 'none', snapshot: null, atLeast: null } as const;

const FOLLOWER_QUESTIONS = [FOLLOWER_QUESTION];

/** Puts the session's check, if it takes one, and its question into the statement's own flight. */
export function planExchange(
  statement: PlannedStatement,
  parts: FinderParts,
  route: NodeRoute,
  lease: Lease,
): CheckedPlan {
  if (route.role === 'leader') return planForLeader(statement, parts);
  const { session, preparedAs } = statement;
  const statements = [statement.request.statement];
  if (session === null) return { statements, preparedAs, ...UNCHECKED };
  const { monitor, limits } = parts;
  // Behind a proxy the next connection may lead to another server, which has shown nothing yet.
  const isDirect = monitor.isDirect(route.node);
  const token = isDirect ? session.requirementOn(lease) : session.token;
  const ageMs = statement.hasLooked ? 0 : session.ageMs(parts.clock.nowMs());
  const check = decideFreshness(token, monitor.watermarkOf(route.node), lease.openedAtMs, ageMs);
  const asksAlong = session.isMonotonic && (session.asksAlong || !isDirect);
  const after = asksAlong ? FOLLOWER_QUESTIONS : undefined;
  if (token === null || check === 'none') return { statements, preparedAs, after, ...UNCHECKED };
  const before = [createGate(token.lsn, check === 'wait' ? limits.gateWaitMs : 0, !session.isMonotonic)];
  return { statements, preparedAs, before, after, check, snapshot: null, atLeast: token.lsn };
}

function planForLeader(statement: PlannedStatement, { monitor, limits }: FinderParts): CheckedPlan {
  const { level, classification, request, session, preparedAs } = statement;
  // While COPY moves data, the server would take the question for a part of it.
  const mayAsk = classification.form !== 'copy' && asksLeader(session, monitor, mayWrite(classification));
  const question = mayAsk ? LEADER_QUESTION : undefined;
  const plain = { statements: [request.statement], preparedAs, question, ...UNCHECKED };
  if (level !== null) return { ...plain, before: [createDurability(level)] };
  const snapshot = session?.followerSnapshot ?? null;
  if (snapshot === null || statement.isLeaderGateSpent || !canFollowOwnStatement(classification))
    return plain;
  if (snapshot.timeline !== monitor.leadership.timeline) return plain;
  const before = [createLeaderGate(snapshot.snapshotEnd, limits.gateWaitMs)];
  return { ...plain, before, check: 'leader-gate', snapshot };
}

/** Moves token and watermark on by what an answer told; `report` is null when its wait was given up. */
export function learnFromAnswer(
  session: SessionState,
  parts: FinderParts,
  { classification, level }: PlannedStatement,
  attempt: Attempt,
  report: ExchangeReport | null,
): void {
  const { monitor } = parts;
  const { route, lease, plan, startedAtMs } = attempt;
  if (route.role === 'follower' && report !== null) {
    learnFromCheck(session, parts, attempt, report);
    if (session.isMonotonic) learnFromFollower(session, monitor, lease.node, report, startedAtMs);
    return;
  }
  const isWrite = mayWrite(classification);
  if (!isWrite && plan.question === undefined) return;
  if (plan.snapshot !== null) session.leaderShowed(plan.snapshot);
  learnFromEffect(session, monitor, report, { level, isWrite, startedAtMs });
}

/** Moves the session on by what a refused statement may have run into. */
export function learnFromError(
  session: SessionState,
  monitor: TopologyMonitor,
  attempt: Attempt,
  report: ExchangeReport,
): void {
  if (attempt.plan.question === undefined || report.isBroken) return;
  const position = readLeaderAnswer(report.answerOf(LEADER_QUESTION.name), null);
  learnFromRefusal(session, monitor, position, attempt.startedAtMs);
}

/** That the statement ran says that its follower was as far as the check in front of it asked. */
function learnFromCheck(
  session: SessionState,
  { monitor, traffic }: FinderParts,
  { lease, plan, startedAtMs }: Attempt,
  report: ExchangeReport,
): void {
  const [gate] = plan.before ?? [];
  if (plan.atLeast !== null && gate !== undefined) {
    traffic.counts.gatePasses += 1;
    monitor.observe(lease.node, readGateAnswer(report, gate) ?? plan.atLeast, startedAtMs);
  } else if (session.token !== null) traffic.counts.watermarkHits += 1;
}
