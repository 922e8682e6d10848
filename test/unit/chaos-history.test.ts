import { describe, expect, it } from 'vitest';
import { checkHistory, longestGapMs } from '../chaos/core/history.ts';
import type { Effect, History, Told, Way, Write } from '../chaos/core/history.ts';
import { createRandom, draw } from '../../src/testing/simulation/random.ts';

const acknowledged = (run = 'r1', timeline = 1): Told => ({ kind: 'acknowledged', run, timeline });
const failed = (code: string, outcome = 'unknown'): Told => ({ kind: 'failed', code, outcome, message: '' });

function write(told: Told, overrides: Partial<Write> = {}): Write {
  return { id: 'w1', way: 'session', isSynchronous: true, calledAtMs: 10, endedAtMs: 12, told, ...overrides };
}

function rulesBroken(
  parts: Partial<History>,
  effects: Record<string, Effect> = { w1: { count: 1, run: 'r1' } },
): string[] {
  const history = { writes: [], reads: [], repeats: [], readErrors: [], ...parts };
  return checkHistory(history, new Map(Object.entries(effects))).map(({ rule }) => rule);
}

describe('the checker accepts', () => {
  it('an acknowledged write that is there once', () => {
    expect(rulesBroken({ writes: [write(acknowledged())], reads: [{ id: 'w1', isSeen: true }] })).toEqual([]);
  });

  it('an unknown write that is there once or not at all', () => {
    const writes = [write(failed('COMMIT_UNKNOWN'))];
    expect(rulesBroken({ writes })).toEqual([]);
    expect(rulesBroken({ writes }, {})).toEqual([]);
  });

  it('a lost asynchronous write, also in the eyes of its session', () => {
    const writes = [write(acknowledged(), { isSynchronous: false })];
    expect(rulesBroken({ writes, reads: [{ id: 'w1', isSeen: false }] }, {})).toEqual([]);
  });

  it('a write on the old timeline that was called before the new one began', () => {
    const writes = [
      write(acknowledged('r1', 1), { calledAtMs: 10, endedAtMs: 30 }),
      write(acknowledged('r2', 2), { id: 'w2', calledAtMs: 15, endedAtMs: 20 }),
    ];
    const effects = { w1: { count: 1, run: 'r1' }, w2: { count: 1, run: 'r2' } };
    expect(rulesBroken({ writes }, effects)).toEqual([]);
  });
});

describe('the checker catches', () => {
  const cases: [string, Partial<History>, Record<string, Effect>?][] = [
    ['acknowledged write lost', { writes: [write(acknowledged())] }, {}],
    ['write doubled', { writes: [write(acknowledged())] }, { w1: { count: 2, run: 'r1' } }],
    ['write doubled', { writes: [write(failed('COMMIT_UNKNOWN'))] }, { w1: { count: 2, run: 'r1' } }],
    [
      'write applied though told not',
      { writes: [write(failed('NOT_LEADER', 'not-applied'), { way: 'plain client' })] },
    ],
    [
      'error reached an idempotent caller',
      { writes: [write(failed('COMMIT_UNKNOWN'), { way: 'keyed transaction' })] },
    ],
    [
      'error reached an idempotent caller',
      { writes: [write(acknowledged())], repeats: [{ id: 'w1', told: failed('NO_LEADER') }] },
    ],
    ['outcome resolved wrongly', { writes: [write(acknowledged('r2'))] }],
    [
      'outcome resolved wrongly',
      { writes: [write(acknowledged())], repeats: [{ id: 'w1', told: acknowledged('r9') }] },
    ],
    ['unexpected error', { writes: [write(failed('NOT_LEADER', 'not-applied'))] }, {}],
    ['unexpected error', { readErrors: ['57P01'] }],
    ['stale session read', { writes: [write(acknowledged())], reads: [{ id: 'w1', isSeen: false }] }],
    [
      'two leaders at once',
      {
        writes: [
          write(acknowledged('r1', 1), { calledAtMs: 21, endedAtMs: 30 }),
          write(acknowledged('r2', 2), { id: 'w2', calledAtMs: 15, endedAtMs: 20 }),
        ],
      },
      { w1: { count: 1, run: 'r1' }, w2: { count: 1, run: 'r2' } },
    ],
  ];
  it.each(cases)('%s', (rule, history, effects) => {
    expect(rulesBroken(history, effects)).toEqual([rule]);
  });
});

describe('unavailability', () => {
  it('is the longest time without an acknowledged synchronous write, its edges included', () => {
    const ways: Way[] = ['session', 'single', 'transaction'];
    const writes = [100, 130, 900].map((endedAtMs, index) =>
      write(acknowledged(), { endedAtMs, way: ways[index] ?? 'single' }),
    );
    expect(longestGapMs(writes, 100, 1000)).toBe(770);
    expect(longestGapMs(writes, 100, 2000)).toBe(1100);
    expect(longestGapMs([], 100, 300)).toBe(200);
  });
});

describe('a seed', () => {
  it('draws the same faults again, about as often as their weights say', () => {
    const weights = { often: 3, seldom: 1, never: 0 };
    const take = (seed: number): string[] => {
      const random = createRandom(seed);
      return Array.from({ length: 400 }, () => draw(weights, random()));
    };
    expect(take(7)).toEqual(take(7));
    expect(take(7)).not.toEqual(take(8));
    const often = take(7).filter((name) => name === 'often').length;
    expect(often).toBeGreaterThan(260);
    expect(often).toBeLessThan(340);
    expect(take(7)).not.toContain('never');
  });
});
