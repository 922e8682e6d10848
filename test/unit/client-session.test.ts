import { describe, expect, it } from 'vitest';
import {
  advanceWatermark,
  decideFreshness,
  endOfLastRecord,
  UNREACHED_LSN,
} from '../../src/client/core/session.ts';
import { readFollowerAnswer, readLeaderAnswer } from '../../src/client/gate.ts';
import { SessionState } from '../../src/client/session-state.ts';
import { formatLsn, parseLsn } from '../../src/model/lsn.ts';
import { parseTimeline } from '../../src/model/timeline.ts';
import { formatToken, parseToken } from '../../src/model/token.ts';

const token = parseToken('1-0/200');
const at = (
  lsn: string,
  observedAtMs: number,
): { lsn: ReturnType<typeof parseLsn>; observedAtMs: number } => ({
  lsn: parseLsn(lsn),
  observedAtMs,
});
const segment = 16 * 1024 * 1024;

describe('decideFreshness', () => {
  it('needs no check without a token, or at or past it', () => {
    expect(decideFreshness(null, null, 0)).toBe('none');
    expect(decideFreshness(token, at('0/200', 5), 1)).toBe('none');
    expect(decideFreshness(token, at('0/1FF', 5), 1)).toBe('gate');
    expect(decideFreshness(token, null, 1)).toBe('gate');
  });

  it('does not trust a watermark from before the connection: the follower may have crashed since', () => {
    expect(decideFreshness(token, at('0/900', 5), 6)).toBe('gate');
  });

  it('keeps the further watermark', () => {
    expect(advanceWatermark(at('0/2', 1), at('0/1', 9))).toEqual(at('0/2', 1));
    expect(advanceWatermark(at('0/2', 1), at('0/2', 9))).toEqual(at('0/2', 9));
  });
});

describe('the position to wait for', () => {
  it.each([
    ['0/4000028', '0/4000000', 'long header at the start of a segment'],
    ['0/4002018', '0/4002000', 'header at the start of a page'],
    ['0/4002028', '0/4002028', 'the same offset as a long header, but inside a segment'],
    ['0/4002030', '0/4002030', 'inside a page'],
    ['0/4002000', '0/4002000', 'a page boundary itself'],
  ])('for insert position %s is %s: %s', (inserted, expected) => {
    expect(formatLsn(endOfLastRecord(parseLsn(inserted), segment))).toBe(expected);
  });

  it('is flushed after a commit that waited for the disk, else inserted', () => {
    const answer = (setting: string): string[] => [
      '00000002',
      '0/100',
      '0/4002018',
      setting,
      String(segment),
    ];
    const text = (setting: string, isUnflushed: boolean): string | null => {
      const read = readLeaderAnswer(answer(setting), isUnflushed);
      return read && formatToken(read);
    };
    expect(text('on', false)).toBe('2-0/100');
    expect(text('on', true)).toBe('2-0/4002000');
    expect(text('off', false)).toBe('2-0/4002000');
    expect(readLeaderAnswer(null, false)).toBeNull();
  });

  it('on a follower is bounded by what was received, not by what is reported as replayed', () => {
    expect(readFollowerAnswer(['0/10', '0/20', '735'])).toEqual({
      replayed: 0x10n,
      bound: 0x20n,
      snapshotEnd: '735',
    });
    expect(readFollowerAnswer(['0/10', null])).toEqual({ replayed: 0x10n, bound: 0x10n, snapshotEnd: null });
    expect(readFollowerAnswer(['0/30', '0/20'])).toEqual({
      replayed: 0x30n,
      bound: 0x30n,
      snapshotEnd: null,
    });
    expect(readFollowerAnswer([null, null])).toBeNull();
  });
});

describe('SessionState', () => {
  it('moves forward only', () => {
    const state = new SessionState('1-0/200');
    state.advance(parseToken('1-0/100'), 1);
    expect(state.text).toBe('1-0/200');
    state.advance(parseToken('1-0/300'), 1);
    expect(state.text).toBe('1-0/300');
    state.advance(parseToken('2-0/250'), 1);
    expect(state.text).toBe('2-0/250');
    state.advance(parseToken('1-0/900'), 1);
    expect(state.text).toBe('2-0/250');
  });

  it('stays with the leader after a write of unknown position until a later answer', () => {
    const state = new SessionState('1-0/200');
    state.advanceBeyondKnowledge(1, 50);
    expect(state.token?.lsn).toBe(UNREACHED_LSN);
    state.advance(parseToken('1-0/300'), 49);
    expect(state.token?.lsn).toBe(UNREACHED_LSN);
    state.advance(parseToken('1-0/300'), 51);
    expect(state.text).toBe('1-0/300');
  });

  it('holds the leader to what a follower has shown, until the leader has shown it', () => {
    const state = new SessionState(undefined);
    state.sawOnFollower(1, '900');
    state.sawOnFollower(1, '1000');
    state.sawOnFollower(1, '950');
    const sight = state.followerSight;
    expect(sight).toEqual({ timeline: 1, snapshotEnd: '1000' });
    state.sawOnFollower(1, '1001');
    if (sight !== null) state.leaderShowed(sight);
    expect(state.followerSight?.snapshotEnd).toBe('1001');
    if (state.followerSight !== null) state.leaderShowed(state.followerSight);
    expect(state.followerSight).toBeNull();
  });

  it('refuses what is not a token', () => {
    expect(() => new SessionState('nonsense')).toThrow(/not a consistency token/);
  });

  it('asks nothing of the follower it read from but what it saw elsewhere', () => {
    const lsn = (text: string) => parseLsn(text);
    const at = (text: string) => ({ timeline: parseTimeline(1), lsn: lsn(text) });
    const state = new SessionState('1-0/200');
    state.readOnFollower('n2', at('0/300'), 10);
    expect(state.text).toBe('1-0/300');
    expect(state.requirementOn({ node: 'n2', openedAtMs: 5 })?.lsn).toBe(lsn('0/200'));
    // A connection opened since: the server may have crashed and come back at an earlier state.
    expect(state.requirementOn({ node: 'n2', openedAtMs: 11 })?.lsn).toBe(lsn('0/300'));
    expect(state.requirementOn({ node: 'n3', openedAtMs: 5 })?.lsn).toBe(lsn('0/300'));
    // An answer that comes late takes nothing back.
    state.readOnFollower('n2', at('0/250'), 9);
    expect(state.text).toBe('1-0/300');
    state.readOnFollower('n3', at('0/310'), 12);
    expect(state.requirementOn({ node: 'n3', openedAtMs: 5 })?.lsn).toBe(lsn('0/300'));
    expect(state.requirementOn({ node: 'n2', openedAtMs: 5 })?.lsn).toBe(lsn('0/310'));
    state.advance(at('0/400'), 20);
    expect(state.requirementOn({ node: 'n3', openedAtMs: 5 })?.lsn).toBe(lsn('0/400'));
  });
});
