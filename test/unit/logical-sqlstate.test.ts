import { describe, expect, it } from 'vitest';
import { classifyFailure } from '../../src/logical/apply/core/sqlstate.ts';

describe('what a failure calls for', () => {
  it.each([
    ['23505', 'data'],
    ['22003', 'data'],
    ['21000', 'data'],
    ['P0001', 'data'],
    ['428C9', 'data'],
    ['42P01', 'schema'],
    ['42501', 'schema'],
    ['55P03', 'passing'],
    ['40P01', 'passing'],
    ['57P01', 'passing'],
    ['08006', 'passing'],
    ['53100', 'passing'],
    [undefined, 'passing'],
  ] as const)('%s is about %s', (code, kind) => {
    expect(classifyFailure(code)).toBe(kind);
  });
});
