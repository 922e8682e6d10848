import type { FreshnessCheck } from '../../session/core/session.ts';

/** An answer to one statement outside a transaction, as far as what follows depends on it. */
export interface Answered {
  /** What rode in front of the statement. */
  readonly check: FreshnessCheck | 'leader-gate';
  readonly isError: boolean;
  /** Whether the connection is of no further use. */
  readonly isBroken: boolean;
  /** Whether the failure may be one of an earlier preparation alone. */
  readonly hasStalePlan: boolean;
  readonly failedIn: 'before' | 'statement' | 'after';
  /** Whether a check stopped the statement because the follower was not far enough. */
  readonly isGateMiss: boolean;
  /** Whether the server gave up waiting for followers behind a commit. */
  readonly isSyncWaitCancelled: boolean;
  /** Whether a follower was looked at before without being far enough. */
  readonly hasLooked: boolean;
  readonly isLeaderKnown: boolean;
  /** Whether the statement may run on any server, as far as its text and its caller say. */
  readonly isAnyones: boolean;
}

/**
 * `resolve`: it ran. `reject-unconfirmed`: it was committed, and not confirmed by followers. `send-unprepared`: nothing ran; once more
 * without a name. `wait-for-follower`: it was only looked at, and is waited for now. `leave-follower`: it does not get there in time;
 * `to` the leader, or another one while there is none. `skip-leader-gate`: the leader does not show yet what a follower has shown; with
 * `mayUseFollower` a follower may answer instead. `judge-failure`: what failed decides.
 */
export type NextStep =
  | { readonly kind: 'resolve' }
  | { readonly kind: 'reject-unconfirmed' }
  | { readonly kind: 'send-unprepared' }
  | { readonly kind: 'wait-for-follower' }
  | { readonly kind: 'leave-follower'; readonly to: 'leader' | 'other' }
  | { readonly kind: 'skip-leader-gate'; readonly mayUseFollower: boolean }
  | { readonly kind: 'judge-failure' };

/** Decides what follows an answer. */
export function decideNextStep(answered: Answered): NextStep {
  const { check, isBroken } = answered;
  if (!answered.isError) return { kind: answered.isSyncWaitCancelled ? 'reject-unconfirmed' : 'resolve' };
  if (isBroken) return { kind: 'judge-failure' };
  if (answered.hasStalePlan) return { kind: 'send-unprepared' };
  if (answered.isGateMiss && check === 'look' && !answered.hasLooked) return { kind: 'wait-for-follower' };
  if (answered.isGateMiss && (check === 'look' || check === 'wait'))
    return { kind: 'leave-follower', to: answered.isLeaderKnown ? 'leader' : 'other' };
  if (check === 'leader-gate' && answered.failedIn === 'before')
    return { kind: 'skip-leader-gate', mayUseFollower: answered.isAnyones };
  return { kind: 'judge-failure' };
}
