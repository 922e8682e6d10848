import type { QueryResult } from 'pg';
import { isSynchronous, parseDurability } from '../model/durability.ts';
import type { Durability, SynchronousCommit } from '../model/durability.ts';
import { LockstepError } from '../model/errors.ts';
import { parseTimeline } from '../model/timeline.ts';
import type { Classifier } from './classifier.ts';
import type { Classification } from './core/classify.ts';
import { codeOf, decideRetry, isTransient } from './core/retry.ts';
import type { FailurePhase } from './core/retry.ts';
import { decideRoute } from './core/route.ts';
import type { Route } from './core/route.ts';
import { decideFreshness } from './core/session.ts';
import type { NodeKey } from './core/topology.ts';
import { durabilityTimeout, exchangeWithinLimit } from './durability.ts';
import { exchange } from './exchange.ts';
import type { ExchangePlan, ExchangeReport, StatementConfig } from './exchange.ts';
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
import type { Lease } from './node-pools.ts';
import type { ClientLimits } from './options.ts';
import type { FollowerSight, SessionState } from './session-state.ts';
import type { TopologyMonitor } from './topology.ts';
import type { Traffic } from './traffic.ts';

/** Where a caller's connections come from: the pool, or the one place of a checked-out client. */
export interface LeaseSource {
  acquire(node: NodeKey): Promise<Lease>;
  /**
   * Called once per acquired lease. `error` means that the connection is of no further use; `leavesState`
   * that the statement left something behind in it, or a transaction open.
   */
  release(lease: Lease, error: Error | boolean | undefined, leavesState: boolean): void;
}

/** One statement outside a transaction. */
export interface StatementRequest {
  readonly statement: StatementConfig;
  /** `auto` goes by the statement's text. */
  readonly access: 'auto' | 'leader' | 'follower';
  readonly session: SessionState | null;
  readonly durability: Durability | undefined;
}

/** What {@link StatementRunner} works with. */
export interface RunnerParts {
  readonly classifier: Classifier;
  readonly monitor: TopologyMonitor;
  readonly traffic: Traffic;
  readonly limits: ClientLimits;
  readonly random: () => number;
}

type NodeRoute = Extract<Route, { kind: 'node' }>;

/** What choosing a node goes by. */
interface RouteProgress {
  readonly session: SessionState | null;
  readonly deadlineMs: number;
  readonly excluded: Set<NodeKey>;
  access: 'any' | 'leader';
  lastError: Error | null;
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

  constructor(parts: RunnerParts) {
    this.parts = parts;
  }

  /**
   * Throws PostgreSQL's own errors unchanged; NO_LEADER (not applied) when no server could take the
   * statement in time; COMMIT_UNKNOWN (unknown) when the connection broke under a write;
   * DURABILITY_TIMEOUT (applied) when followers did not confirm in time.
   */
  async run(request: StatementRequest, source: LeaseSource): Promise<QueryResult> {
    const progress = this.#begin(request, source);
    for (;;) {
      const route = await this.awaitRoute(progress);
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
    const isRead =
      request.access === 'follower'
        ? classification.kind === 'read' || classification.reason.startsWith('unknown function')
        : request.access === 'auto' && classification.kind === 'read';
    return {
      request,
      session: request.session,
      source,
      classification,
      level,
      deadlineMs: performance.now() + this.parts.limits.failoverTimeoutMs,
      excluded: new Set(),
      access: isRead && level === null ? 'any' : 'leader',
      lastError: null,
      isLeaderGateSpent: false,
    };
  }

  /** Waits until some node may take the statement. Throws NO_LEADER when none did in time. */
  async awaitRoute(progress: RouteProgress): Promise<NodeRoute> {
    const { monitor, limits } = this.parts;
    if (monitor.leadership.leader === null) void monitor.start();
    for (;;) {
      const route = this.#route(progress);
      if (route.kind === 'node') return route;
      const { commonError } = monitor;
      if (commonError !== null && !isTransient(codeOf(commonError))) throw commonError;
      const leftMs = progress.deadlineMs - performance.now();
      if (leftMs <= 0) throw noLeader(route.reason, limits.failoverTimeoutMs, monitor, progress.lastError);
      await monitor.nextChange(Math.min(leftMs, 100));
      progress.excluded.clear();
    }
  }

  #route(progress: RouteProgress): Route {
    const { monitor, traffic, limits, random } = this.parts;
    const nodes = monitor.view.map((node) => ({
      ...node,
      outstanding: traffic.outstanding(node.key),
      latencyMs: traffic.latencyMs(node.key),
    }));
    return decideRoute(
      {
        access: progress.access,
        token: progress.session?.token ?? null,
        maxLagBytes: limits.maxReadLagBytes,
        excluded: progress.excluded,
        leaderTimeline: monitor.leadership.timeline,
      },
      nodes,
      [random(), random()],
    );
  }

  /** A lease on the leader, waiting for one as long as an operation may. Throws NO_LEADER. */
  async acquireLeader(source: LeaseSource, session: SessionState | null, deadlineMs: number): Promise<Lease> {
    const progress: RouteProgress = {
      session,
      deadlineMs,
      excluded: new Set(),
      access: 'leader',
      lastError: null,
    };
    for (;;) {
      const { node } = await this.awaitRoute(progress);
      try {
        const lease = await source.acquire(node);
        if (this.parts.monitor.leadership.leader === node) return lease;
        source.release(lease, undefined, false);
      } catch (error) {
        progress.lastError = toError(error);
        if (isOwnTimeout(progress.lastError) || !isTransient(codeOf(error))) throw error;
        progress.excluded.add(node);
        void this.parts.monitor.probeNow(node);
      }
    }
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
    const report = await this.#exchange(progress, lease, plan);
    traffic.ended(route.node, performance.now() - startedAtMs);
    return this.#settle(progress, route, lease, plan, report, startedAtMs);
  }

  #exchange(progress: Progress, lease: Lease, plan: ExchangePlan): Promise<ExchangeReport | null> {
    const { monitor, limits } = this.parts;
    if (!mayWrite(progress.classification) || !mayWaitForFollowers(progress.level))
      return exchange(lease.client, plan);
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
    if (mayWrite(classification)) traffic.counts.writes += 1;
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
        progress.excluded.add(route.node);
        void monitor.probeNow(route.node);
        if (performance.now() > progress.deadlineMs) throw error;
        return null;
      case 'retry-on-leader':
        if (decision.teach) classifier.teachLeader(progress.request.statement.text);
        traffic.counts.redirected += 1;
        progress.access = 'leader';
        return null;
      case 'recheck-leader':
        if (await this.confirmsLeader(route.node)) throw error;
        return null;
      case 'outcome-unknown':
        void monitor.probeNow(route.node);
        traffic.counts.unknownOutcomes += 1;
        throw commitUnknown(monitor.nameOf(route.node), error);
      case 'give-up':
        throw error;
    }
  }

  /**
   * Asks a node that refused a write whether it leads. While it does, the refusal is the statement's own
   * (a transaction declared READ ONLY), not a change of leadership.
   */
  async confirmsLeader(node: NodeKey): Promise<boolean> {
    const { monitor } = this.parts;
    await monitor.probeNow(node);
    const probed = monitor.view.find(({ key }) => key === node);
    return monitor.leadership.leader === node && probed?.lsn != null;
  }
}

const NOTHING_LEARNED: Pick<ExchangeReport, 'answer'> = { answer: null };

const STATEMENTS_IN_ANY_TRANSACTION = new Set(['INSERT', 'UPDATE', 'DELETE', 'MERGE', 'row locks']);

/** A prelude makes a transaction around both, which VACUUM and its like refuse. */
function canFollowPrelude({ kind, reason, isSingle }: Classification): boolean {
  if (!isSingle) return false;
  if (kind === 'read' || kind === 'leader-read') return reason !== 'empty' && reason !== 'SET';
  return STATEMENTS_IN_ANY_TRANSACTION.has(reason) || reason.startsWith('unknown function');
}

function mayWrite({ kind }: Classification): boolean {
  return kind !== 'read' && kind !== 'leader-read';
}

function phaseOf(report: ExchangeReport): FailurePhase {
  if (!report.isBroken) return 'refused';
  return report.isSent ? 'broken' : 'unreached';
}

/** pg's `query_timeout` is the app's own limit on the answer, also for a read that could run again. */
export function isOwnTimeout(error: Error): boolean {
  return (
    error.message === 'Query read timeout' || error.message === 'timeout exceeded when trying to connect'
  );
}

/** Whether a level waits for followers; null is the server's default, which may. */
export function mayWaitForFollowers(level: SynchronousCommit | null): boolean {
  return level === null || isSynchronous(level);
}

export function toError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}

/** The write may or may not be applied: its connection broke before the answer. */
export function commitUnknown(node: string, cause: Error): LockstepError {
  return new LockstepError(
    'COMMIT_UNKNOWN',
    `The connection to leader ${node} broke while a write was in flight, so it may or may not be applied; read back before trying again.`,
    { outcome: 'unknown', details: { node }, cause },
  );
}

function noLeader(
  reason: string,
  waitedMs: number,
  monitor: TopologyMonitor,
  cause: Error | null,
): LockstepError {
  return new LockstepError(
    'NO_LEADER',
    `No server could take the statement within ${waitedMs} ms (${reason}); nothing was applied, try again when the cluster has a leader.`,
    { retryable: true, details: { nodes: monitor.describeNodes() }, ...(cause === null ? {} : { cause }) },
  );
}
