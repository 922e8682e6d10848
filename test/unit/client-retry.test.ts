import { describe, expect, it } from 'vitest';
import { decideRetry } from '../../src/client/statement/core/retry.ts';
import { isTransient } from '../../src/client/cluster/core/transient.ts';
import type { Failure } from '../../src/client/statement/core/retry.ts';

const decide = (over: Partial<Failure>): string => {
  const decision = decideRetry({ phase: 'refused', code: '', role: 'leader', kind: 'write', ...over });
  return decision.kind === 'retry-on-leader' && decision.teach ? 'retry-on-leader, teach' : decision.kind;
};

describe('decideRetry', () => {
  it.each([
    [
      'a write that was never sent is tried again',
      { phase: 'unreached', code: 'ECONNREFUSED' },
      'retry-elsewhere',
    ],
    ['so is one that met a starting server', { phase: 'unreached', code: '57P03' }, 'retry-elsewhere'],
    ['a wrong password is final', { phase: 'unreached', code: '28P01' }, 'give-up'],
    [
      'a write under a broken connection is never run twice',
      { phase: 'broken', code: '57P01' },
      'outcome-unknown',
    ],
    ['nor is one that leaves state', { phase: 'broken', kind: 'session' }, 'outcome-unknown'],
    ['a read is', { phase: 'broken', kind: 'read' }, 'retry-elsewhere'],
    ['also on a follower', { phase: 'broken', kind: 'read', role: 'follower' }, 'retry-elsewhere'],
    [
      'and so is what a follower cannot have written',
      { phase: 'broken', role: 'follower' },
      'retry-elsewhere',
    ],
    ['and BEGIN, which changes nothing', { phase: 'broken', kind: 'begin' }, 'retry-elsewhere'],
    ['a read-only leader may not be one any more', { code: '25006' }, 'recheck-leader'],
    ['a unique violation is final', { code: '23505' }, 'give-up'],
    ['a conflict outside transaction() is the caller’s', { code: '40001' }, 'give-up'],
    [
      'a follower that refuses a write teaches',
      { code: '25006', role: 'follower' },
      'retry-on-leader, teach',
    ],
    ['one that cannot do it teaches', { code: '0A000', role: 'follower' }, 'retry-on-leader, teach'],
    ['a conflict with replay does not', { code: '40001', role: 'follower' }, 'retry-on-leader'],
    ['a table may not have arrived yet', { code: '42P01', role: 'follower' }, 'retry-on-leader'],
    ['its disk is its own', { code: '53100', role: 'follower' }, 'retry-on-leader'],
    ["the leader's full disk is final", { code: '53100' }, 'give-up'],
    ['division by zero is the same everywhere', { code: '22012', role: 'follower' }, 'give-up'],
  ] as [string, Partial<Failure>, string][])('%s', (_, over, expected) => {
    expect(decide(over)).toBe(expected);
  });

  it('waits out what passes', () => {
    for (const code of [
      '',
      'ECONNREFUSED',
      'ECONNRESET',
      'ETIMEDOUT',
      'ENOTFOUND',
      '57P01',
      '57P03',
      '08006',
      '53300',
      '53100',
      '58030',
    ]) {
      expect(isTransient(code)).toBe(true);
    }
    for (const code of ['28P01', '3D000', '42501']) expect(isTransient(code)).toBe(false);
  });
});
