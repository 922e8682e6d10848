import { isDiskTrouble, isTransient } from '../../cluster/core/transient.ts';
import type { StatementKind } from '../../classify/core/classify.ts';

/**
 * How an attempt failed. `unreached`: the statement was never sent. `broken`: the connection ended after
 * it was sent, before the answer was whole. `refused`: the server answered with an error, so that the
 * statement had no effect.
 */
export type FailurePhase = 'unreached' | 'broken' | 'refused';

export interface Failure {
  readonly phase: FailurePhase;
  /** SQLSTATE or Node's error code; empty when there is none. */
  readonly code: string;
  readonly role: 'leader' | 'follower';
  readonly kind: StatementKind;
}

/**
 * `retry-elsewhere`: surely not applied, another node may answer. `retry-on-leader`: a follower cannot
 * serve it; with `teach` the statement's text goes to the leader from now on. `outcome-unknown`: it may or
 * may not have taken effect, so it must not run again. `recheck-leader`: the node is not the leader, or it
 * is and the error is the statement's own. `give-up`: the error is final.
 */
export type RetryDecision =
  | { readonly kind: 'retry-elsewhere' }
  | { readonly kind: 'retry-on-leader'; readonly teach: boolean }
  | { readonly kind: 'recheck-leader' }
  | { readonly kind: 'outcome-unknown' }
  | { readonly kind: 'give-up' };

/** What a server in recovery answers to a write, and any server inside a transaction that is READ ONLY. */
export const READ_ONLY_TRANSACTION: string = '25006';
const FEATURE_NOT_SUPPORTED = '0A000';
const SERIALIZATION_FAILURE = '40001';
const DEADLOCK = '40P01';

/** Decides what follows a failed attempt of one statement outside a transaction. */
export function decideRetry(failure: Failure): RetryDecision {
  switch (failure.phase) {
    case 'unreached':
      return isTransient(failure.code) ? { kind: 'retry-elsewhere' } : { kind: 'give-up' };
    case 'broken':
      return failure.role === 'follower' || isRepeatable(failure.kind)
        ? { kind: 'retry-elsewhere' }
        : { kind: 'outcome-unknown' };
    case 'refused':
      return failure.role === 'follower'
        ? decideOnFollowerError(failure.code)
        : decideOnLeaderError(failure.code);
  }
}

function isRepeatable(kind: StatementKind): boolean {
  return kind === 'read' || kind === 'leader-read' || kind === 'begin';
}

/**
 * A follower's refusal of the statement's form teaches; a conflict with replay (40001) or an object that
 * it may not know yet (class 42) is asked again of the leader, whose answer is final. So is what only the follower's disk
 * keeps it from.
 */
function decideOnFollowerError(code: string): RetryDecision {
  if (code === READ_ONLY_TRANSACTION || code === FEATURE_NOT_SUPPORTED)
    return { kind: 'retry-on-leader', teach: true };
  const isConflictWithReplay = code === SERIALIZATION_FAILURE || code === DEADLOCK;
  const isItsOwn = isConflictWithReplay || isDiskTrouble(code);
  if (isItsOwn || code.startsWith('42') || code.startsWith('3F')) {
    return { kind: 'retry-on-leader', teach: false };
  }
  return { kind: 'give-up' };
}

function decideOnLeaderError(code: string): RetryDecision {
  return code === READ_ONLY_TRANSACTION ? { kind: 'recheck-leader' } : { kind: 'give-up' };
}

/** Whether a whole transaction may run again because PostgreSQL rolled it back for others' sake. */
export function isSerializationConflict(code: string): boolean {
  return code === SERIALIZATION_FAILURE || code === DEADLOCK;
}
