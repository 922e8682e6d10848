import type { QueryResult } from 'pg';
import type { DurabilityLevels } from '../../model/durability.ts';
import type { Classifier } from '../classify/classifier.ts';
import { isUndecided, mayWrite } from '../classify/core/classify.ts';
import { checkStaleness } from '../app/checks.ts';
import type { NodeKey } from '../../model/node.ts';
import { refuseAlone } from './alone.ts';
import { refuseManyStatements, resolveCommitWait } from './durability.ts';
import type { StatementConfig } from './queryable.ts';
import type { Hedger } from '../route/hedge.ts';
import { NONE_EXCLUDED } from '../route/node-finder.ts';
import type { FinderParts, RouteProgress } from '../route/node-finder.ts';
import type { LeaseSource } from '../cluster/lease-source.ts';
import type { PreparedTexts } from './prepared-texts.ts';
import type { PlannedStatement } from './session-plan.ts';
import { isOwnSession } from '../session/session-state.ts';
import type { SessionState } from '../session/session-state.ts';
/** One statement outside a transaction. */
export interface StatementRequest {
  readonly statement: StatementConfig;
  /** `auto` goes by the statement's text. */
  readonly access: 'auto' | 'leader' | 'follower';
  readonly session: SessionState | null;
}

/** What {@link StatementRunner} works with. */
export interface RunnerParts extends FinderParts {
  readonly classifier: Classifier;
  /** Null where no read is ever sent twice. */
  readonly hedger: Hedger | null;
  readonly durabilities: DurabilityLevels;
  readonly prepared: PreparedTexts;
}

/** What one statement has been through so far. */
export interface Progress extends RouteProgress, PlannedStatement {
  request: StatementRequest;
  readonly source: LeaseSource;
  readonly commitWaitMs: number;
  readonly resolve: (result: QueryResult) => void;
  readonly reject: (error: Error) => void;
  /** Where it was sent last, or waits for a connection. */
  goesTo: NodeKey | null;
  preparedAs: readonly [string] | undefined;
  hasLooked: boolean;
  isLeaderGateSpent: boolean;
}

/** Where a statement stands before it was sent anywhere. Throws CONFIG_INVALID for what it cannot be asked with. */
export function begin(
  parts: RunnerParts,
  request: StatementRequest,
  source: LeaseSource,
  resolve: Progress['resolve'],
  reject: Progress['reject'],
): Progress {
  const classification = parts.classifier.classify(request.statement.text);
  if (!source.holdsTransactions) refuseAlone(classification);
  const { durabilities, limits, clock } = parts;
  const name = parts.prepared.nameFor(request.statement, classification);
  const { level, limitMs } = resolveCommitWait(request.statement, durabilities, limits.durabilityTimeoutMs);
  if (level !== null) refuseManyStatements(classification);
  checkStaleness(request.statement.maxStalenessMs);
  const mayUseFollower =
    request.access !== 'leader' &&
    (classification.mayUseFollower || (request.access === 'follower' && isUndecided(classification)));
  return {
    request,
    session: request.session,
    source,
    classification,
    level,
    commitWaitMs: limitMs,
    resolve,
    reject,
    deadlineMs: clock.nowMs() + Math.min(limits.failoverTimeoutMs, source.waitLimitMs),
    isAppsLimit: source.waitLimitMs < limits.failoverTimeoutMs,
    excluded: NONE_EXCLUDED,
    access: mayUseFollower && level === null ? 'any' : 'leader',
    maxStalenessMs: request.statement.maxStalenessMs ?? request.session?.maxStalenessMs ?? null,
    lastError: null,
    goesTo: null,
    preparedAs: name === undefined ? undefined : [name],
    hasLooked: false,
    isLeaderGateSpent: false,
  };
}

export function isCountedWrite(progress: Progress): progress is Progress & { session: SessionState } {
  return isOwnSession(progress.session) && mayWrite(progress.classification);
}
