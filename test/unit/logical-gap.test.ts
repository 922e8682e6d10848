import { describe, expect, it } from 'vitest';
import { findGap } from '../../src/logical/follow/core/gap.ts';
import type { FollowPlace } from '../../src/logical/follow/core/gap.ts';
import { formatHistory, parseHistory } from '../../src/logical/follow/source-history.ts';
import type { Lsn } from '../../src/model/lsn.ts';

const lsn = (value: number): Lsn => BigInt(value) as Lsn;
const first = parseHistory('1');
const second = parseHistory('2\n1\t0/64');
const place: FollowPlace = {
  position: lsn(100),
  history: first,
  slot: { confirmedLsn: lsn(90), isLost: false },
  source: { flushedLsn: lsn(500), history: second },
};

describe('whether a follow can go on', () => {
  it('can where the new leader has everything up to its position', () => {
    expect(findGap(place)).toBeNull();
    expect(findGap({ ...place, history: second, position: lsn(400) })).toBeNull();
  });

  it.each<[string, Partial<FollowPlace>, RegExp]>([
    ['is past where the new leader forked off', { position: lsn(101) }, /failed over/],
    [
      'comes from a past that the leader does not share',
      { history: parseHistory('3\n1\t0/32') },
      /failed over/,
    ],
    ['is past the end of the log', { history: null, position: lsn(501) }, /further than the source/],
    ['has no slot', { slot: null }, /slot is gone/],
    ['has a slot that lost its log', { slot: { confirmedLsn: lsn(0), isLost: true } }, /dropped log/],
    [
      'is before what the slot still has',
      { slot: { confirmedLsn: lsn(101), isLost: false } },
      /lost commits/,
    ],
  ])('cannot where it %s', (_what, change, sentence) => {
    expect(findGap({ ...place, ...change })).toMatch(sentence);
  });

  it('reads the past as it was written', () => {
    for (const history of [first, second, parseHistory('5\n1\t0/64\n3\tA/1')])
      expect(parseHistory(formatHistory(history))).toEqual(history);
  });
});
