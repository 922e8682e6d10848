import { describe, expect, it } from 'vitest';
import { decideNextStep } from '../../src/client/statement/core/next-step.ts';
import type { Answered, NextStep } from '../../src/client/statement/core/next-step.ts';

const RAN: Answered = {
  check: 'none',
  isError: false,
  isBroken: false,
  hasStalePlan: false,
  failedIn: 'statement',
  isGateMiss: false,
  isSyncWaitCancelled: false,
  hasLooked: false,
  isLeaderKnown: true,
  isAnyones: true,
};
const FAILED: Answered = { ...RAN, isError: true };
const MISSED: Answered = { ...FAILED, failedIn: 'before', isGateMiss: true };

describe('what follows the answer to a statement', () => {
  it.each<readonly [string, Answered, NextStep]>([
    ['it ran', RAN, { kind: 'resolve' }],
    ['behind a check it ran too', { ...RAN, check: 'wait', hasLooked: true }, { kind: 'resolve' }],
    ['no follower confirmed it', { ...RAN, isSyncWaitCancelled: true }, { kind: 'reject-unconfirmed' }],
    ['its own error', FAILED, { kind: 'judge-failure' }],
    ['a stale plan', { ...FAILED, hasStalePlan: true }, { kind: 'send-unprepared' }],
    [
      'a stale plan, and no connection',
      { ...FAILED, hasStalePlan: true, isBroken: true },
      { kind: 'judge-failure' },
    ],
    ['a follower that was looked at', { ...MISSED, check: 'look' }, { kind: 'wait-for-follower' }],
    [
      'the next one too',
      { ...MISSED, check: 'look', hasLooked: true },
      { kind: 'leave-follower', to: 'leader' },
    ],
    [
      'a follower that was waited for',
      { ...MISSED, check: 'wait' },
      { kind: 'leave-follower', to: 'leader' },
    ],
    [
      'and no leader',
      { ...MISSED, check: 'wait', isLeaderKnown: false },
      { kind: 'leave-follower', to: 'other' },
    ],
    [
      'the connection broke at the check',
      { ...MISSED, check: 'look', isBroken: true },
      { kind: 'judge-failure' },
    ],
    [
      'the leader lags behind',
      { ...MISSED, check: 'leader-gate' },
      { kind: 'skip-leader-gate', mayUseFollower: true },
    ],
    [
      'and only the leader may run it',
      { ...MISSED, check: 'leader-gate', isAnyones: false },
      { kind: 'skip-leader-gate', mayUseFollower: false },
    ],
    ['an error behind the gate', { ...FAILED, check: 'leader-gate' }, { kind: 'judge-failure' }],
    ['a division by zero of its own', { ...FAILED, check: 'look' }, { kind: 'judge-failure' }],
    ['a division by zero without a check', { ...MISSED, check: 'none' }, { kind: 'judge-failure' }],
  ])('%s', (_name, answered, expected) => {
    expect(decideNextStep(answered)).toEqual(expected);
  });
});
