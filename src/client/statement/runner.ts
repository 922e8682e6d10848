import type { QueryResult } from 'pg';
import { mayWrite } from '../classify/core/classify.ts';
import { codeOf } from '../../model/errors.ts';
import { decideNextStep } from './core/next-step.ts';
import { decideRetry } from './core/retry.ts';
import type { FailurePhase } from './core/retry.ts';
import type { NodeKey } from '../../model/node.ts';
import { mayWaitForFollowers, startExchangeWithinLimit } from './durability.ts';
import { isCutOff, phaseOf } from './attempt-failure.ts';
import { exchange, startExchange, withoutName } from '../../wire/exchange.ts';
import type { ExchangeReport, Lease } from '../../wire/contract.ts';
import { textOfSubmitted } from './queryable.ts';
import { toError } from '../../wire/hook-errors.ts';
import { isAppsOwn, transactionLeftOpen } from '../app/failures.ts';
import { lostAnswer, refuseUnconfirmed } from '../session/commit-epilogue.ts';
import { isGateMiss } from '../session/gate.ts';
import type { Hedger } from '../route/hedge.ts';
import { exclude, NodeFinder } from '../route/node-finder.ts';
import type { NodeRoute } from '../route/node-finder.ts';
import type { LeaseSource } from '../cluster/lease-source.ts';
import { UNKNOWN_NAME } from '../../wire/prepared.ts';
import { Pending } from '../session/pending.ts';
import { learnFromAnswer, learnFromError, planExchange } from './session-plan.ts';
import { begin, isCountedWrite } from './progress.ts';
import type { Progress, RunnerParts, StatementRequest } from './progress.ts';
import type { Attempt } from './session-plan.ts';
import { askUnasked, mayHaveGoneBack } from '../session/follower-reads.ts';

/**
 * Runs single statements: classify, choose a node, send, and where that fails decide between another try
 * and an honest error. While all goes well it takes no turn of the event loop but the server's answer.
 */
export class StatementRunner {
  readonly parts: RunnerParts;
  readonly finder: NodeFinder;
  /** Its own statements, and whatever else the pool's end waits for. */
  readonly pending: Pending = new Pending();

  constructor(parts: RunnerParts) {
    this.parts = parts;
    this.finder = new NodeFinder(parts);
  }

  /**
   * Rejects with PostgreSQL's own errors unchanged; NO_LEADER (not applied) when no server could take the
   * statement in time; COMMIT_UNKNOWN (unknown) when the connection broke under a write;
   * DURABILITY_TIMEOUT (applied) when followers did not confirm in time.
   */
  run(request: StatementRequest, source: LeaseSource): Promise<QueryResult> {
    const { hedger } = this.parts;
    if (hedger !== null) return this.#runHedged(hedger, request, source);
    return new Promise((resolve, reject) => this.#start(begin(this.parts, request, source, resolve, reject)));
  }

  /** Only reads that move no session are sent twice: nothing but their answer comes of them. */
  #runHedged(hedger: Hedger, request: StatementRequest, source: LeaseSource): Promise<QueryResult> {
    const { promise, resolve, reject } = Promise.withResolvers<QueryResult>();
    let progress: Progress;
    try {
      progress = begin(this.parts, request, source, resolve, reject);
    } catch (error) {
      reject(toError(error));
      return promise;
    }
    this.#start(progress);
    const { classification, access, session } = progress;
    if (classification.kind !== 'read' || access !== 'any' || session?.isMonotonic === true) return promise;
    return hedger.race(promise, () => this.#sendCopy(progress));
  }

  /** Null when there is no other follower. */
  #sendCopy({ request, source, goesTo }: Progress): Promise<QueryResult> | null {
    if (goesTo === null) return null;
    const { promise, resolve, reject } = Promise.withResolvers<QueryResult>();
    const copy = begin(this.parts, request, source, resolve, reject);
    exclude(copy, goesTo);
    const route = this.finder.routeNow(copy);
    if (route.kind !== 'node' || route.role !== 'follower') return null;
    this.parts.traffic.counts.hedged += 1;
    this.#start(copy);
    return promise;
  }

  /** Whether a query object that sends itself may write: nothing can be asked behind it. */
  mayWriteItself(query: object): boolean {
    const text = textOfSubmitted(query);
    return text === null || mayWrite(this.parts.classifier.classify(text));
  }

  /** Its next try is prepared for that one time. */
  #unprepare(progress: Progress, isNameUnknown: boolean): void {
    const { statement } = progress.request;
    if (progress.preparedAs !== undefined) this.parts.prepared.renew(statement.text, isNameUnknown);
    progress.preparedAs = undefined;
    progress.request = { ...progress.request, statement: withoutName(statement) };
  }

  #start(progress: Progress): void {
    this.pending.begin();
    if (isCountedWrite(progress)) progress.session.writes.begin();
    try {
      this.#advance(progress);
    } catch (error) {
      this.#fail(progress, toError(error));
    }
  }

  #finish(progress: Progress, result: QueryResult): void {
    this.pending.done();
    if (isCountedWrite(progress)) progress.session.writes.done();
    progress.resolve(result);
  }

  #fail(progress: Progress, error: Error): void {
    this.pending.done();
    if (isCountedWrite(progress)) progress.session.writes.done();
    progress.reject(error);
  }

  #advance(progress: Progress): void {
    const route = this.finder.routeNow(progress);
    if (route.kind === 'wait') return this.#settleLater(progress, this.#advanceLater(progress));
    const next = route.role === 'leader' ? null : route.node;
    if (progress.session?.hasUnaskedBeside(next) === true)
      return this.#settleLater(progress, this.#askUnasked(progress, next));
    const lease = progress.source.tryAcquire(route.node);
    if (lease === null) return this.#settleLater(progress, this.#acquire(progress, route));
    this.#send(progress, route, lease);
  }

  /** Whatever goes wrong on the way is the statement's, and nobody waits for ever. */
  #settleLater(progress: Progress, way: Promise<void>): void {
    way.catch((error: unknown) => this.#fail(progress, toError(error)));
  }

  async #askUnasked(progress: Progress, next: NodeKey | null): Promise<void> {
    const { session, source } = progress;
    if (session !== null) await askUnasked(session, this.parts.monitor, source, next);
    this.#advance(progress);
  }

  #again(progress: Progress): void {
    this.parts.traffic.counts.retried += 1;
    this.#advance(progress);
  }

  async #advanceLater(progress: Progress): Promise<void> {
    await this.#acquire(progress, await this.finder.awaitRoute(progress));
  }

  async #acquire(progress: Progress, route: NodeRoute): Promise<void> {
    let lease: Lease | null;
    const { traffic, clock } = this.parts;
    progress.goesTo = route.node;
    traffic.started(route.node, clock.nowMs());
    try {
      lease = await progress.source.acquire(route.node);
      traffic.waited(route.node, lease !== null);
    } catch (error) {
      traffic.waited(route.node, false);
      return this.#afterFailure(progress, route, 'unreached', toError(error));
    }
    if (lease === null) return this.#advance(progress);
    // Connecting took time in which the leader may have changed: a former one must not get the statement.
    if (route.role === 'leader' && this.parts.monitor.leadership.leader !== route.node) {
      progress.source.release(lease, undefined, false);
      this.#again(progress);
      return;
    }
    if (route.role === 'follower' && !this.finder.isStillFresh(progress, route.node)) {
      progress.source.release(lease, undefined, false);
      this.#again(progress);
      return;
    }
    this.#send(progress, route, lease);
  }

  #send(progress: Progress, route: NodeRoute, lease: Lease): void {
    const { monitor, traffic, clock } = this.parts;
    const { session, source } = progress;
    if (route.role === 'follower' && session !== null && mayHaveGoneBack(session, monitor, lease)) {
      source.release(lease, undefined, false);
      return this.#again(progress);
    }
    const planned = planExchange(progress, this.parts, route, lease);
    const observer = session?.observer;
    const isObserved = lease.observer !== null || observer !== undefined;
    const plan = isObserved ? { ...planned, reason: route.reason, observer } : planned;
    const attempt: Attempt = { route, lease, plan, startedAtMs: clock.nowMs() };
    progress.goesTo = route.node;
    traffic.started(route.node, attempt.startedAtMs);
    const finish = (report: ExchangeReport | null): void => {
      traffic.ended(route.node, attempt.startedAtMs, clock.nowMs());
      try {
        this.#settle(progress, attempt, report);
      } catch (error) {
        this.#fail(progress, toError(error));
      }
    };
    const mayCommit = route.role === 'leader' && mayWrite(progress.classification);
    if (!mayCommit || !mayWaitForFollowers(progress.level)) return startExchange(lease, plan, finish);
    const limit = { monitor, limitMs: progress.commitWaitMs, isCommit: false };
    startExchangeWithinLimit(lease, plan, limit, finish);
  }

  #settle(progress: Progress, attempt: Attempt, report: ExchangeReport | null): void {
    const mayBeHeld = progress.classification.kind === 'begin' && attempt.lease.readOnlySinceMs !== null;
    if (mayBeHeld && report?.error === null) void this.#settleBegin(progress, attempt, report);
    else this.#settleAnswer(progress, attempt, report);
  }

  /** A transaction that begins while its leader hands over is begun again on the next one: nothing has run in it. */
  async #settleBegin(progress: Progress, attempt: Attempt, report: ExchangeReport): Promise<void> {
    const { lease } = attempt;
    try {
      if (!(await this.finder.isHandedOver(lease))) return this.#settleAnswer(progress, attempt, report);
      const { error } = await exchange(lease, { statements: [{ text: 'ROLLBACK' }] });
      progress.source.release(lease, error ?? undefined, false);
      this.#again(progress);
    } catch (error) {
      this.#fail(progress, toError(error));
    }
  }

  #settleAnswer(progress: Progress, attempt: Attempt, report: ExchangeReport | null): void {
    const { monitor, traffic } = this.parts;
    const { route, lease, plan } = attempt;
    if (report === null) {
      this.#learn(progress, attempt, null);
      progress.source.release(lease, true, false);
      return refuseUnconfirmed(monitor, route.node, report, progress.commitWaitMs);
    }
    const leavesTransaction = lease.client.getTransactionStatus() !== 'I';
    const leavesState = progress.classification.kind === 'session' || leavesTransaction;
    progress.source.release(lease, report.isBroken ? (report.error ?? true) : undefined, leavesState);
    if (!report.isBroken) this.finder.answered(route.node);
    const { request, classification } = progress;
    const step = decideNextStep({
      check: plan.check,
      isError: report.error !== null,
      isBroken: report.isBroken,
      hasStalePlan: report.hasStalePlan,
      failedIn: report.failedIn,
      isGateMiss: isGateMiss(report),
      isSyncWaitCancelled: report.isSyncWaitCancelled,
      hasLooked: progress.hasLooked,
      isLeaderKnown: monitor.leadership.leader !== null,
      isAnyones: classification.kind === 'read' && request.access === 'auto',
    });
    switch (step.kind) {
      case 'resolve':
        this.#learn(progress, attempt, report);
        // Its connection is gone, and the server undoes what was not committed.
        if (leavesTransaction && !progress.source.holdsTransactions)
          return this.#fail(progress, transactionLeftOpen());
        return this.#finish(progress, report.results[0] as QueryResult);
      case 'reject-unconfirmed':
        this.#learn(progress, attempt, report);
        return refuseUnconfirmed(monitor, route.node, report, progress.commitWaitMs);
      case 'send-unprepared':
        this.#unprepare(progress, codeOf(report.error) === UNKNOWN_NAME);
        return this.#again(progress);
      case 'wait-for-follower':
        progress.hasLooked = true;
        return this.#advance(progress);
      case 'leave-follower':
        traffic.counts.gateMisses += 1;
        if (step.to === 'other') exclude(progress, route.node);
        else progress.access = 'leader';
        return this.#again(progress);
      case 'skip-leader-gate':
        traffic.counts.leaderGateMisses += 1;
        progress.isLeaderGateSpent = true;
        if (step.mayUseFollower) progress.access = 'any';
        return this.#again(progress);
      case 'judge-failure':
        return this.#judgeFailure(progress, attempt, report, toError(report.error));
    }
  }

  #judgeFailure(progress: Progress, attempt: Attempt, report: ExchangeReport, error: Error): void {
    if (progress.session !== null) learnFromError(progress.session, this.parts.monitor, attempt, report);
    const { statement } = progress.request;
    void this.#afterFailure(progress, attempt.route, phaseOf(report), error, isCutOff(report, statement));
  }

  /** Counts what was answered, and moves the session on; `report` is null when the wait was given up. */
  #learn(progress: Progress, attempt: Attempt, report: ExchangeReport | null): void {
    const { traffic } = this.parts;
    const { session, classification } = progress;
    const { route } = attempt;
    if (route.role === 'leader' && mayWrite(classification)) traffic.counts.writes += 1;
    else traffic.countRead(route.node);
    if (session !== null) learnFromAnswer(session, this.parts, progress, attempt, report);
  }

  /** Tries again, or rejects: what failed in which phase decides. */
  async #afterFailure(
    progress: Progress,
    route: NodeRoute,
    phase: FailurePhase,
    error: Error,
    isSurelyUndone = false,
  ): Promise<void> {
    const { classifier, traffic, limits, clock } = this.parts;
    progress.lastError = error;
    const { kind } = progress.classification;
    const decision = isAppsOwn(error)
      ? ({ kind: 'give-up' } as const)
      : decideRetry({ phase, code: codeOf(error), role: route.role, kind });
    switch (decision.kind) {
      case 'retry-elsewhere':
        this.finder.failed(progress, route.node);
        if (clock.nowMs() > progress.deadlineMs)
          return this.#fail(progress, this.finder.giveUp(progress, error.message, limits.failoverTimeoutMs));
        return this.#again(progress);
      case 'retry-on-leader':
        if (decision.teach) classifier.teachLeader(progress.request.statement.text);
        traffic.counts.redirected += 1;
        progress.access = 'leader';
        return this.#again(progress);
      case 'recheck-leader':
        if (await this.finder.confirmsLeader(route.node)) return this.#fail(progress, error);
        return this.#again(progress);
      case 'outcome-unknown':
        // Where the server goes on to lead, somebody ended this very statement, and it must not run again.
        if (isSurelyUndone && !(await this.finder.confirmsLeader(route.node))) return this.#again(progress);
        return this.#fail(progress, lostAnswer(this.parts, route.node, error));
      case 'give-up':
        return this.#fail(progress, error);
    }
  }
}
