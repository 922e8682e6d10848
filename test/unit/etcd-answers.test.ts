import { describe, expect, it } from 'vitest';
import { judgeFailedTxn } from '../../src/coordination/etcd/core/etcd-answers.ts';

describe('a write that etcd did not take', () => {
  const write = { expectedVersion: 5, value: 'mine', operation: 'x' };
  const stored = (version: number, operation = 'y') => ({
    version,
    value: 'theirs',
    operation,
    createRevision: 1,
    revision: 9,
  });
  it.each([
    ['has lost to another of the same version', stored(6), false, 'conflict'],
    ['has lost to it also when it was sent before', stored(6), true, 'conflict'],
    ['was taken when it was sent before', stored(6, 'x'), true, 'applied'],
    ['has lost to a later one', stored(7), false, 'conflict'],
    ['may have been taken and replaced when it was sent before', stored(7), true, 'unknown'],
    ['has lost to an older version', stored(4), false, 'conflict'],
    ['may still be taken when it is on its way since before', stored(4), true, 'unknown'],
  ])('%s', (_, current, mayHaveRunBefore, outcome) => {
    expect(judgeFailedTxn(write, current, mayHaveRunBefore)).toBe(outcome);
  });
});
