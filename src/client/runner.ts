import type { QueryResult } from 'pg';
import { isSynchronous, parseDurability } from '../model/durability.ts';
import type { Durability, SynchronousCommit } from '../model/durability.ts';
import { LockstepError } from '../model/errors.ts';
import { parseTimeline } from '../model/timeline.ts';
import type { Classifier } from './classifier.ts';
import { isUndecided } from './core/classify.ts';
import type { Classification } from './core/classify.ts';
import { codeOf, decideRetry } from './core/retry.ts';
import type { FailurePhase } from './core/retry.ts';
import { decideFreshness } from './core/session.ts';
import type { NodeKey } from './core/topology.ts';
import { exchangeWithinLimit } from './durability.ts';
import { exchange } from './exchange.ts';
import type { ExchangePlan, ExchangeReport, StatementConfig } from './exchange.ts';
import { commitUnknown, durabilityTimeout, isOwnTimeout, toError } from './failures.ts';
import {
  createDurabilityPrelude,
  createGate,
  createLeaderGate,
  FOLLOWER_QUESTION,
  isGateMiss,
  LEADER_QUESTION,
  readFollowerAnswer,
  readLeaderAnswer,
} from './gate.ts';
import { NodeFinder } from './node-finder.ts';
import type { FinderParts, LeaseSource, NodeRoute, RouteProgress } from './node-finder.ts';
import type { Lease } from './node-pools.ts';
import type { FollowerSight, SessionState } from './session-state.ts';

/** One statement outside a transaction. */
export interface StatementRequest {
  readonly statement: StatementConfig;
  /** `auto` goes by the statement's text. */
  readonly access: 'auto' | 'leader' | 'follower';
  readonly session: SessionState | null;
  readonly durability: Durability | undefined;
}

/** What {@link StatementRunner} works with. */
export interface RunnerParts extends FinderParts {
  readonly classifier: Classifier;
}

/** What one statement has been through so far. */
interface Progress extends RouteProgress {
  readonly request: StatementRequest;
  readonly source: LeaseSource;
  readonly classification: Classification;
  readonly level: SynchronousCommit | null;
  /** Set once the leader was not seen to show what a follower had shown: the wait is not repeated. */
  isLeaderGateSpent: boolean;
}

/** What an exchange carries, and which check rides in front. */
interface CheckedPlan extends ExchangePlan {
  readonly check: 'none' | 'follower-gate' | 'leader-gate';
  readonly sight: FollowerSight | null;
}

/**
 * Runs single statements: classify, choose a node, send, and where that fails decide between another try
 * and an honest error.
 */
export class StatementRunner {
  readonly parts: RunnerParts;
  readonly finder: NodeFinder;

  constructor(parts: RunnerParts) {
    this.parts = parts;
    this.finder = new NodeFinder(parts);
  }

  /**
   * Throws PostgreSQL's own errors unchanged; NO_LEADER (not applied) when no server could take the
   * statement in time; COMMIT_UNKNOWN (unknown) when the connection broke under a write;
   * DURABILITY_TIMEOUT (applied) when followers did not confirm in time.
   */
  async run(request: StatementRequest, source: LeaseSource): Promise<QueryResult> {
    const progress = this.#begin(request, source);
    for (;;) {
      const route = await this.finder.awaitRoute(progress);
      const result = await this.#attempt(progress, route);
      if (result !== null) return result;
      this.parts.traffic.counts.retried += 1;
    }
  }

  #begin(request: StatementRequest, source: LeaseSource): Progress {
    const classification = this.parts.classifier.classify(request.statement.text);
    const level = request.durability === undefined ? null : parseDurability(request.durability);
    if (level !== null && !classification.isSingle) {
      throw new LockstepError(
        'CONFIG_INVALID',
        'A durability applies to a single statement; use transaction() for several.',
      );
    }
    const mayUseFollower =
      request.access !== 'leader' &&
      (classification.mayUseFollower || (request.access === 'follower' && isUndecided(classification)));
    return {
      request,
      session: request.session,
      source,
      classification,
      level,
      deadlineMs: performance.now() + this.parts.limits.failoverTimeoutMs,
      excluded: new Set(),
      access: mayUseFollower && level === null ? 'any' : 'leader',
      lastError: null,
      isLeaderGateSpent: false,
    };
  }

  /** Null means: surely not applied, try again. */
  async #attempt(progress: Progress, route: NodeRoute): Promise<QueryResult | null> {
    let lease: Lease;
    try {
      lease = await progress.source.acquire(route.node);
    } catch (error) {
      return this.#afterFailure(progress, route, 'unreached', toError(error));
    }
    const { traffic, monitor } = this.parts;
    // Connecting took time in which the leader may have changed: a former one must not get the statement.
    if (route.role === 'leader' && monitor.leadership.leader !== route.node) {
      progress.source.release(lease, undefined, false);
      return null;
    }
    const plan = this.#plan(progress, route, lease);
    const startedAtMs = performance.now();
    traffic.started(route.node);
    const report = await this.#exchange(progress, route, lease, plan);
    traffic.ended(route.node, performance.now() - startedAtMs);
    return this.#settle(progress, route, lease, plan, report, startedAtMs);
  }

  #exchange(
    progress: Progress,
    route: NodeRoute,
    lease: Lease,
    plan: ExchangePlan,
  ): Promise<ExchangeReport | null> {
    const { monitor, limits } = this.parts;
    const mayCommit = route.role === 'leader' && mayWrite(progress.classification);
    if (!mayCommit || !mayWaitForFollowers(progress.level)) return exchange(lease.client, plan);
    return exchangeWithinLimit(lease, plan, monitor, limits.durabilityTimeoutMs, false);
  }

  #plan(progress: Progress, route: NodeRoute, lease: Lease): CheckedPlan {
    const { session, statement } = progress.request;
    if (route.role === 'leader') return this.#planForLeader(progress);
    if (session === null) return { statement, check: 'none', sight: null };
    const { monitor, limits } = this.parts;
    const { token } = session;
    const freshness = decideFreshness(token, monitor.watermarkOf(route.node), lease.openedAtMs);
    const question = FOLLOWER_QUESTION;
    if (token === null || freshness === 'none') return { statement, question, check: 'none', sight: null };
    const prelude = createGate(token.lsn, limits.gateWaitMs);
    return { statement, prelude, question, check: 'follower-gate', sight: null };
  }

  #planForLeader(progress: Progress): CheckedPlan {
    const { level, classification, request } = progress;
    const { session, statement } = request;
    const { monitor, limits } = this.parts;
    // While COPY moves data, the server would take the question for a part of it.
    const question = session === null || classification.reason === 'COPY' ? undefined : LEADER_QUESTION;
    const plain = { statement, question, check: 'none', sight: null } as const;
    if (level !== null) return { ...plain, prelude: createDurabilityPrelude(level) };
    const sight = session?.followerSight ?? null;
    if (sight === null || progress.isLeaderGateSpent || !canFollowPrelude(classification)) return plain;
    if (sight.timeline !== monitor.leadership.timeline) return plain;
    return {
      ...plain,
      prelude: createLeaderGate(sight.snapshotEnd, limits.gateWaitMs),
      check: 'leader-gate',
      sight,
    };
  }

  async #settle(
    progress: Progress,
    route: NodeRoute,
    lease: Lease,
    plan: CheckedPlan,
    report: ExchangeReport | null,
    startedAtMs: number,
  ): Promise<QueryResult | null> {
    const { monitor, limits, traffic } = this.parts;
    if (report === null) {
      this.#learn(progress, route, plan, NOTHING_LEARNED, startedAtMs);
      progress.source.release(lease, true, false);
      throw durabilityTimeout(monitor.nameOf(route.node), 'limit', limits.durabilityTimeoutMs);
    }
    const leavesState =
      progress.classification.kind === 'session' || lease.client.getTransactionStatus() !== 'I';
    progress.source.release(lease, report.isBroken ? (report.error ?? true) : undefined, leavesState);
    if (!report.isBroken) this.finder.answered(route.node);
    if (report.error === null) {
      this.#learn(progress, route, plan, report, startedAtMs);
      if (report.isSyncWaitCancelled) throw durabilityTimeout(monitor.nameOf(route.node), 'cancelled', 0);
      return report.result as QueryResult;
    }
    if (plan.check === 'follower-gate' && isGateMiss(report)) {
      traffic.counts.gateMisses += 1;
      if (monitor.leadership.leader === null) progress.excluded.add(route.node);
      else progress.access = 'leader';
      return null;
    }
    if (plan.check === 'leader-gate' && report.failedIn === 'prelude' && !report.isBroken) {
      traffic.counts.leaderGateMisses += 1;
      progress.isLeaderGateSpent = true;
      if (progress.classification.kind === 'read' && progress.request.access === 'auto')
        progress.access = 'any';
      return null;
    }
    return this.#afterFailure(progress, route, phaseOf(report), report.error);
  }

  /** Moves counters, watermark and token on by what an answer told. */
  #learn(
    { request, classification, level }: Progress,
    { node, role }: NodeRoute,
    plan: CheckedPlan,
    report: Pick<ExchangeReport, 'answer'>,
    startedAtMs: number,
  ): void {
    const { monitor, traffic } = this.parts;
    if (role === 'leader' && mayWrite(classification)) traffic.counts.writes += 1;
    else traffic.countRead(node);
    const { session } = request;
    if (session === null) return;
    if (role === 'follower') return this.#learnFromFollower(session, node, plan, report, startedAtMs);
    if (plan.sight !== null) session.leaderShowed(plan.sight);
    const token = readLeaderAnswer(report.answer, level === 'off');
    if (token !== null) session.advance(token, startedAtMs);
    else session.advanceBeyondKnowledge(monitor.leadership.timeline, performance.now());
  }

  #learnFromFollower(
    session: SessionState,
    node: NodeKey,
    plan: CheckedPlan,
    report: Pick<ExchangeReport, 'answer'>,
    startedAtMs: number,
  ): void {
    const { monitor, traffic } = this.parts;
    if (plan.check === 'follower-gate') traffic.counts.gatePasses += 1;
    else if (session.token !== null) traffic.counts.watermarkHits += 1;
    const position = readFollowerAnswer(report.answer);
    if (position === null) return;
    monitor.observe(node, position.replayed, startedAtMs);
    const viewed = monitor.view.find(({ key }) => key === node);
    const timeline =
      session.token?.timeline ?? parseTimeline(viewed?.timeline ?? monitor.leadership.timeline);
    session.advance({ timeline, lsn: position.bound }, startedAtMs);
    if (position.snapshotEnd !== null) session.sawOnFollower(timeline, position.snapshotEnd);
  }

  async #afterFailure(
    progress: Progress,
    route: NodeRoute,
    phase: FailurePhase,
    error: Error,
  ): Promise<null> {
    const { monitor, classifier, traffic } = this.parts;
    progress.lastError = error;
    const { kind } = progress.classification;
    const decision = isOwnTimeout(error)
      ? ({ kind: 'give-up' } as const)
      : decideRetry({ phase, code: codeOf(error), role: route.role, kind });
    switch (decision.kind) {
      case 'retry-elsewhere':
        this.finder.failed(progress, route.node);
        if (performance.now() > progress.deadlineMs) throw error;
        return null;
      case 'retry-on-leader':
        if (decision.teach) classifier.teachLeader(progress.request.statement.text);
        traffic.counts.redirected += 1;
        progress.access = 'leader';
        return null;
      case 'recheck-leader':
        if (await this.finder.confirmsLeader(route.node)) throw error;
        return null;
      case 'outcome-unknown':
        void monitor.probeNow(route.node);
        traffic.counts.unknownOutcomes += 1;
        throw commitUnknown(monitor.nameOf(route.node), error);
      case 'give-up':
        throw error;
    }
  }
}

const NOTHING_LEARNED: Pick<ExchangeReport, 'answer'> = { answer: null };

const STATEMENTS_IN_ANY_TRANSACTION = new Set(['INSERT', 'UPDATE', 'DELETE', 'MERGE', 'row locks']);

/** A prelude makes a transaction around both, which VACUUM and its like refuse. */
function canFollowPrelude({ kind, reason, isSingle }: Classification): boolean {
  if (!isSingle) return false;
  if (kind === 'read' || kind === 'leader-read') return reason !== 'empty' && reason !== 'SET';
  return STATEMENTS_IN_ANY_TRANSACTION.has(reason) || isUndecided({ kind, reason });
}

function mayWrite({ kind }: Classification): boolean {
  return kind !== 'read' && kind !== 'leader-read';
}

function phaseOf(report: ExchangeReport): FailurePhase {
  if (!report.isBroken) return 'refused';
  return report.isSent ? 'broken' : 'unreached';
}

/** Whether a level waits for followers; null is the server's default, which may. */
function mayWaitForFollowers(level: SynchronousCommit | null): boolean {
  return level === null || isSynchronous(level);
}
