import { describe, expect, it } from 'vitest';
import { judgeOrphan } from '../../src/multi-leader/core/orphan-rule.ts';
import { clockLackUs } from '../../src/multi-leader/core/patience.ts';

describe('a row without its parent', () => {
  const removed = { timeUs: 9, region: 0, lsn: 1n };
  const settled = { committedUs: 9, hasParent: false, isParentAside: false, removed };
  it.each([
    ['is acted on when all is settled', settled, 'act'],
    ['also when its own write was settled long ago', { ...settled, committedUs: null }, 'act'],
    ['is none when the parent is there', { ...settled, hasParent: true }, 'over'],
    ['waits for a parent that stands aside', { ...settled, isParentAside: true }, 'wait'],
    ['waits where another region deleted the parent', { ...settled, removed: null }, 'wait'],
    ['waits while its own delete may be on its way', { ...settled, committedUs: 10 }, 'wait'],
    [
      'waits while the parent may be written again',
      { ...settled, removed: { ...removed, timeUs: 10 } },
      'wait',
    ],
  ] as const)('%s', (_, row, judged) => {
    expect(judgeOrphan(row, 10)).toBe(judged);
  });
});

describe('the clock before a batch is applied', () => {
  it.each([
    [11, 10, 0],
    [10, 10, 1],
    [7, 10, 4],
  ])('at %i lacks of %i: %i', (nowUs, highestUs, lackUs) => {
    expect(clockLackUs(nowUs, highestUs)).toBe(lackUs);
  });
});
