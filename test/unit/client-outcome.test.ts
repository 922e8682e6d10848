import { describe, expect, it } from 'vitest';
import {
  AttemptLedger,
  checkIdempotencyKey,
  decideKeyed,
  encodeResult,
  isSweepDue,
} from '../../src/client/transaction/core/outcome.ts';
import { LockstepError } from '../../src/model/errors.ts';

describe('a key', () => {
  it.each(['order-123', 'ü', 'x'.repeat(200)])('may be %s', (key) => {
    expect(checkIdempotencyKey(key)).toBe(key);
  });

  it.each(['', 'x'.repeat(201), 'a\0b', 7, null, {}])('must not be %j', (key) => {
    expect(() => checkIdempotencyKey(key)).toThrow(LockstepError);
  });
});

describe('a result', () => {
  it('is kept as JSON when that can say it', () => {
    expect(encodeResult({ id: 7, at: new Date(0) })).toBe('{"id":7,"at":"1970-01-01T00:00:00.000Z"}');
    expect(encodeResult(null)).toBe('null');
  });

  it('is not kept when it is nothing, too large, or not for JSON', () => {
    const cycle: { self?: unknown } = {};
    cycle.self = cycle;
    for (const value of [undefined, 'x'.repeat(70_000), 'ü'.repeat(40_000), cycle, 5n])
      expect(encodeResult(value)).toBeNull();
  });
});

describe('the ledger of a call', () => {
  it('clears its doubt when a later claim finds the key free', () => {
    const ledger = new AttemptLedger();
    ledger.leaveOpen('a1', 'one');
    expect(ledger.isInDoubt).toBe(true);
    expect(ledger.judge('a2', { attempt: 'a2', result: null })).toEqual({ kind: 'own' });
    expect(ledger.isInDoubt).toBe(false);
  });

  it('returns the very value of its own attempt that turns out to be applied', () => {
    const ledger = new AttemptLedger();
    const [one, two] = [new Date(1), new Date(2)];
    ledger.leaveOpen('a1', one);
    ledger.leaveOpen('a2', two);
    const claim = ledger.judge('a3', { attempt: 'a1', result: '"1970"' });
    expect(claim.kind === 'applied' && claim.value).toBe(one);
  });

  it("returns another call's result as it was kept", () => {
    const ledger = new AttemptLedger();
    expect(ledger.judge('a1', { attempt: 'b1', result: '{"id":7}' })).toEqual({
      kind: 'applied',
      value: { id: 7 },
    });
    expect(ledger.judge('a1', { attempt: 'b1', result: null })).toEqual({
      kind: 'applied',
      value: undefined,
    });
  });
});

describe('a failed attempt of a keyed call', () => {
  it.each([
    ['commit-unknown', true, 1, 'again'],
    ['commit-unknown', true, 0, 'unknown'],
    ['wait-cancelled', true, 1, 'again'],
    ['wait-cancelled', true, 0, 'pass'],
    ['wait-exceeded', true, 1, 'pass'],
    ['claim-blocked', true, 1, 'again'],
    ['claim-blocked', true, -1, 'unknown'],
    ['claim-blocked', false, 1, 'pass'],
    ['table-missing', false, 1, 'create-table'],
    ['table-missing', true, 0, 'unknown'],
    ['other', false, 1, 'pass'],
    // An error of its own would tell the caller that nothing is applied.
    ['other', true, 1, 'unknown'],
  ] as const)('%s, in doubt: %s, %i ms left: %s', (failure, isInDoubt, leftMs, decision) => {
    expect(decideKeyed(failure, isInDoubt, leftMs)).toBe(decision);
  });
});

describe('old outcomes', () => {
  it('are looked for every ten minutes, unless they are kept for ever', () => {
    expect(isSweepDue(600_000, 0, 1000)).toBe(true);
    expect(isSweepDue(599_999, 0, 1000)).toBe(false);
    expect(isSweepDue(10_000_000, 0, 0)).toBe(false);
  });
});
