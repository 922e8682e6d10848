import { describe, expect, it } from 'vitest';
import type { UnconfirmedWrite } from '../../src/client/cluster/core/lost-write.ts';
import type { SynchronousCommit } from '../../src/model/durability.ts';
import {
  decideFreshness,
  endOfLastRecord,
  judgeUnproven,
  UNREACHED_LSN,
} from '../../src/client/session/core/session.ts';
import { advanceWatermark } from '../../src/client/cluster/core/watermark.ts';
import { readFollowerAnswer, readLeaderAnswer } from '../../src/client/session/gate.ts';
import { asksLeader, learnFromLeader, learnFromRefusal } from '../../src/client/session/leader-answers.ts';
import { SessionState } from '../../src/client/session/session-state.ts';
import type { TopologyMonitor } from '../../src/client/cluster/topology-monitor.ts';
import { formatLsn, parseLsn } from '../../src/model/lsn.ts';
import { parseTimeline } from '../../src/model/timeline.ts';
import { formatSessionToken, formatToken, parseSessionToken, parseToken } from '../../src/model/token.ts';
import { VirtualTime } from '../../src/testing/simulation/virtual-time.ts';

const token = parseToken('1-0/200');
const at = (
  lsn: string,
  observedAtMs: number,
): { lsn: ReturnType<typeof parseLsn>; observedAtMs: number } => ({
  lsn: parseLsn(lsn),
  observedAtMs,
});
const segment = 16 * 1024 * 1024;

describe('judgeUnproven', () => {
  it.each([
    ['is true of a log that went past it', '3-0/200', 3, '0/200', 'true'],
    ['is false of one that ends before it', '3-0/200', 3, '0/1FF', 'false'],
    ['stays open by a former leader, on an older timeline', '3-0/200', 2, '0/900', 'open'],
    ['is true by a later leader, which had all of it to become one', '2-0/200', 3, '0/1', 'true'],
  ])('what a session is said to have seen %s', (_, seen, timeline, end, expected) => {
    expect(judgeUnproven(parseToken(seen), timeline, parseLsn(end))).toBe(expected);
  });
});

describe('decideFreshness', () => {
  it('needs no check without a token, or at or past it', () => {
    expect(decideFreshness(null, null, 0, 100)).toBe('none');
    expect(decideFreshness(token, at('0/200', 5), 1, 100)).toBe('none');
    expect(decideFreshness(token, at('0/1FF', 5), 1, 100)).toBe('look');
    expect(decideFreshness(token, null, 1, 100)).toBe('look');
  });

  it('waits for what is so new that it is probably not there yet', () => {
    expect(decideFreshness(token, at('0/1FF', 5), 1, 2)).toBe('wait');
    expect(decideFreshness(token, null, 1, 0)).toBe('wait');
    expect(decideFreshness(token, at('0/200', 5), 1, 0)).toBe('none');
  });

  it('does not trust a watermark from before the connection: the follower may have crashed since', () => {
    expect(decideFreshness(token, at('0/900', 5), 6, 100)).toBe('look');
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
    expect(tokenOf('on', null)).toBe('2-0/100');
    expect(tokenOf('on', 'off')).toBe('2-0/4002000');
    expect(tokenOf('off', null)).toBe('2-0/4002000');
    expect(readLeaderAnswer(null, null)).toBeNull();
  });

  it.each([
    ['on', null, 't', true],
    ['on', null, 'f', false],
    ['local', null, 't', false],
    ['on', 'local', 't', false],
    ['local', 'remote_apply', 't', true],
    ['local', 'on', 'f', false],
  ] as const)('at %s, asked for %s, with followers %s, is confirmed: %s', (...given) => {
    const [setting, level, hasStandbys, isConfirmed] = given;
    expect(readLeaderAnswer(answer(setting, hasStandbys), level)?.isConfirmed).toBe(isConfirmed);
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

const answer = (setting: string, hasStandbys = 't'): string[] => [
  '00000002',
  '0/100',
  '0/4002018',
  setting,
  String(segment),
  hasStandbys,
];

const tokenOf = (setting: string, level: SynchronousCommit | null): string | null => {
  const read = readLeaderAnswer(answer(setting), level);
  return read && formatToken(read);
};

const startAt = (text: string): SessionState => {
  const state = new SessionState();
  state.advance(parseToken(text), 0);
  return state;
};

const textOf = ({ handover }: SessionState): string | null =>
  handover === null ? null : formatSessionToken(handover);

describe('SessionState', () => {
  it('moves forward only', () => {
    const state = startAt('1-0/200');
    state.advance(parseToken('1-0/100'), 1);
    expect(textOf(state)).toBe('1-0/200');
    state.advance(parseToken('1-0/300'), 1);
    expect(textOf(state)).toBe('1-0/300');
    state.advance(parseToken('2-0/250'), 1);
    expect(textOf(state)).toBe('2-0/250');
    state.advance(parseToken('1-0/900'), 1);
    expect(textOf(state)).toBe('2-0/250');
  });

  it('stays with the leader after a write of unknown position until a later answer', () => {
    const state = startAt('1-0/200');
    state.advanceBeyondKnowledge(1, 50);
    expect(state.token?.lsn).toBe(UNREACHED_LSN);
    state.advance(parseToken('1-0/300'), 49);
    expect(state.token?.lsn).toBe(UNREACHED_LSN);
    state.advance(parseToken('1-0/300'), 51);
    expect(textOf(state)).toBe('1-0/300');
  });

  it('holds the leader to what a follower has shown, until the leader has shown it', () => {
    const state = new SessionState();
    state.sawOnFollower(1, '900');
    state.sawOnFollower(1, '1000');
    state.sawOnFollower(1, '950');
    const snapshot = state.followerSnapshot;
    expect(snapshot).toEqual({ timeline: 1, snapshotEnd: '1000' });
    state.sawOnFollower(1, '1001');
    if (snapshot !== null) state.leaderShowed(snapshot);
    expect(state.followerSnapshot?.snapshotEnd).toBe('1001');
    if (state.followerSnapshot !== null) state.leaderShowed(state.followerSnapshot);
    expect(state.followerSnapshot).toBeNull();
  });

  it('holds what is unproven until the leader has shown that it can be true', () => {
    let disproved = 0;
    const told = (token: string): SessionState =>
      new SessionState({ token: parseSessionToken(token), onDisproved: () => (disproved += 1) });
    const leader = (token: string, end: string): Parameters<SessionState['advance']>[0] => ({
      ...parseToken(token),
      end: parseLsn(end),
    });
    const real = told('1-0/300');
    real.advance(leader('1-0/200', '0/300'), 1);
    expect(textOf(real)).toBe('1-0/300');
    real.advance(leader('1-0/200', '0/250'), 1);
    expect([textOf(real), disproved]).toEqual(['1-0/300', 0]);
    const older = told('1-0/900');
    older.advance(leader('2-0/200', '0/200'), 1);
    expect([textOf(older), disproved]).toEqual(['2-0/200', 0]);
    const false_ = told('1-0/301');
    false_.advance(parseToken('1-0/250'), 1);
    expect(textOf(false_)).toBe('1-0/301');
    false_.advance(leader('1-0/200', '0/300'), 1);
    expect([textOf(false_), disproved]).toEqual(['1-0/250', 1]);
    false_.advance(leader('1-0/210', '0/310'), 1);
    expect([textOf(false_), disproved]).toEqual(['1-0/250', 1]);
  });

  it('keeps its newest unconfirmed write until a later one is confirmed', () => {
    const state = startAt('1-0/200');
    const write = (token: string): UnconfirmedWrite => ({ ...parseToken(token), after: null });
    state.wroteUnconfirmed(write('1-0/180'), 10);
    expect(textOf(state)).toBe('1-0/200-1-0/180');
    state.wroteUnconfirmed(write('1-0/170'), 12);
    state.wroteConfirmed(9);
    expect(textOf(state)).toBe('1-0/200-1-0/180');
    state.wroteConfirmed(12);
    expect(textOf(state)).toBe('1-0/200');
  });

  it('learns where a write of unknown position was at the latest', () => {
    const state = startAt('1-0/200');
    state.advanceBeyondKnowledge(1, 50);
    state.wroteUnconfirmed({ ...parseToken('1-FFFFFFFF/FFFFFFFF'), after: null }, 50);
    state.advance(parseToken('1-0/300'), 51);
    expect(textOf(state)).toBe('1-0/300-1-0/300');
  });

  it('asks nothing of the follower it read from but what it saw elsewhere', () => {
    const lsn = (text: string) => parseLsn(text);
    const at = (text: string) => ({ timeline: parseTimeline(1), lsn: lsn(text) });
    const state = startAt('1-0/200');
    state.readOnFollower('n2', at('0/300'), 10);
    expect(textOf(state)).toBe('1-0/300');
    expect(state.requirementOn({ node: 'n2', openedAtMs: 5 })?.lsn).toBe(lsn('0/200'));
    // A connection opened since: the server may have crashed and come back at an earlier state.
    expect(state.requirementOn({ node: 'n2', openedAtMs: 11 })?.lsn).toBe(lsn('0/300'));
    expect(state.requirementOn({ node: 'n3', openedAtMs: 5 })?.lsn).toBe(lsn('0/300'));
    // An answer that comes late takes nothing back.
    state.readOnFollower('n2', at('0/250'), 9);
    expect(textOf(state)).toBe('1-0/300');
    state.readOnFollower('n3', at('0/310'), 12);
    expect(state.requirementOn({ node: 'n3', openedAtMs: 5 })?.lsn).toBe(lsn('0/300'));
    expect(state.requirementOn({ node: 'n2', openedAtMs: 5 })?.lsn).toBe(lsn('0/310'));
    expect(state.ageMs(20)).toBe(Infinity);
    state.heardFromLeader(22);
    state.advance(at('0/400'), 20);
    expect(state.ageMs(23)).toBe(1);
    expect(state.requirementOn({ node: 'n3', openedAtMs: 5 })?.lsn).toBe(lsn('0/400'));
  });
});

describe('a session that is not asked about along with its reads', () => {
  const at = (text: string) => ({ timeline: parseTimeline(1), lsn: parseLsn(text) });

  it('owes a follower’s position before it moves, and nothing where it stays', () => {
    const state = startAt('1-0/200');
    expect(state.hasUnaskedBeside(null)).toBe(false);
    state.readUnasked('n2', parseTimeline(1), 10, 12);
    expect(state.hasUnaskedBeside('n2')).toBe(false);
    expect(state.hasUnaskedBeside('n3')).toBe(true);
    expect(state.unaskedBeside(null)).toEqual(['n2']);
    expect(state.requirementOn({ node: 'n2', openedAtMs: 5 })?.lsn).toBe(parseLsn('0/200'));
    state.readUnasked('n3', parseTimeline(1), 11, 13);
    expect(state.unaskedBeside('n3')).toEqual(['n2']);
    expect(state.hasUnaskedBeside('n3')).toBe(true);
    expect(state.hasUnaskedBeside('n2')).toBe(true);
  });

  it('hands on what only the leader shows, until the follower has told its position', () => {
    const state = startAt('1-0/200');
    state.readUnasked('n2', parseTimeline(1), 10, 12);
    expect(state.handover?.seen.lsn).toBe(UNREACHED_LSN);
    state.answeredLater('n2', at('0/300'), 13);
    expect(textOf(state)).toBe('1-0/300');
    expect(state.hasUnaskedBeside(null)).toBe(false);
    expect(state.requirementOn({ node: 'n3', openedAtMs: 5 })?.lsn).toBe(parseLsn('0/300'));
  });

  it('takes no answer for a read that ended after the question was sent', () => {
    const state = startAt('1-0/200');
    state.readUnasked('n2', parseTimeline(1), 10, 20);
    state.answeredLater('n2', at('0/300'), 15);
    expect(state.hasUnaskedBeside(null)).toBe(true);
    state.readOnFollower('n2', at('0/310'), 25);
    expect(state.hasUnaskedBeside(null)).toBe(false);
  });

  it('needs a follower’s position also on a connection that was opened since', () => {
    const state = startAt('1-0/200');
    state.readUnasked('n2', parseTimeline(1), 10, 12);
    expect(state.readAtMs('n2')).toBe(10);
    // What is asked over a newer connection may be a server that came back at an earlier state.
    expect(state.isUnaskedOn({ node: 'n2', openedAtMs: 11 })).toBe(true);
    expect(state.isUnaskedOn({ node: 'n2', openedAtMs: 9 })).toBe(false);
    expect(state.isUnaskedOn({ node: 'n3', openedAtMs: 11 })).toBe(false);
  });
});

describe('the session that all callers of a pool share', () => {
  const seen = (timeline: number, followers: number): TopologyMonitor =>
    ({
      leadership: { timeline },
      view: Array.from({ length: followers }, () => ({
        role: 'follower',
        isUp: true,
        lsn: parseLsn('0/100'),
      })),
      leaderSeenBefore: () => null,
      clock: new VirtualTime(),
    }) as unknown as TopologyMonitor;
  const monitor = seen(1, 1);
  const position = readLeaderAnswer(answer('local'), null);

  it('asks the leader behind writes, and behind a read only where a write’s position is open', () => {
    const shared = new SessionState({ isMonotonic: false });
    expect(asksLeader(shared, monitor, true)).toBe(true);
    expect(asksLeader(shared, monitor, false)).toBe(false);
    shared.advanceBeyondKnowledge(1, 10);
    expect(asksLeader(shared, monitor, false)).toBe(true);
    shared.advance(parseToken('1-0/300'), 11);
    expect(asksLeader(shared, monitor, false)).toBe(false);
    // After a failover only the new leader's answer tells a position that followers can be compared with.
    expect(asksLeader(shared, seen(2, 1), false)).toBe(true);
    expect(asksLeader(shared, seen(1, 0), true)).toBe(false);
  });

  it('moves on by what is written in another session, but not by what is read there', () => {
    const shared = new SessionState({ isMonotonic: false });
    const session = new SessionState({ shared });
    learnFromLeader(session, monitor, position, { startedAtMs: 1, isWrite: false, waitedAt: null });
    expect(shared.token).toBeNull();
    learnFromLeader(session, monitor, position, { startedAtMs: 1, isWrite: true, waitedAt: null });
    expect(shared.token).toEqual(session.token);
  });

  it('tells nobody of a write that a failover took back', () => {
    const shared = new SessionState({ isMonotonic: false });
    learnFromLeader(shared, monitor, position, { startedAtMs: 1, isWrite: true, waitedAt: null });
    expect(shared.token).not.toBeNull();
    expect(shared.unconfirmedWrite).toBeNull();
  });

  it('moves on by what a refused write ran into', () => {
    const shared = new SessionState({ isMonotonic: false });
    learnFromRefusal(new SessionState({ shared }), monitor, position, 1);
    expect(shared.token).not.toBeNull();
  });
});

describe('an acknowledged write whose position was cut off', () => {
  const monitor = {
    leadership: { timeline: 2 },
    leaderSeenBefore: () => null,
    clock: new VirtualTime(),
  } as unknown as TopologyMonitor;
  const write = { startedAtMs: 100, isWrite: true };
  const learn = (waitedAt: SynchronousCommit | null): SessionState => {
    const state = new SessionState();
    learnFromLeader(state, monitor, null, { ...write, waitedAt });
    return state;
  };

  it('counts as confirmed only at a level that waits, on a leader that said it has followers to wait for', () => {
    expect(learn('on').unconfirmedWrite).not.toBeNull();
    const told = readLeaderAnswer(answer('on'), null);
    learnFromLeader(new SessionState(), monitor, told, { ...write, waitedAt: null });
    expect(learn('on').unconfirmedWrite).toBeNull();
    expect(learn('local').unconfirmedWrite).not.toBeNull();
    // Given up, or no level asked for: nothing is known.
    expect(learn(null).unconfirmedWrite).not.toBeNull();
    const alone = readLeaderAnswer(answer('on', 'f'), null);
    learnFromLeader(new SessionState(), monitor, alone, { ...write, waitedAt: null });
    expect(learn('on').unconfirmedWrite).not.toBeNull();
  });
});
