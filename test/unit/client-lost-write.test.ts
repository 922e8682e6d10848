import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { forkByAncestors, forkByProbes, judgeWrite } from '../../src/client/cluster/core/lost-write.ts';
import { ForkWatch } from '../../src/client/cluster/fork-watch.ts';
import type { Probe } from '../../src/client/cluster/core/leadership.ts';
import { formatLsn } from '../../src/model/lsn.ts';
import type { Lsn } from '../../src/model/lsn.ts';
import { parseTimeline } from '../../src/model/timeline.ts';
import {
  formatSessionToken,
  mergeSessionTokens,
  parseSessionToken,
  parseToken,
} from '../../src/model/token.ts';
import { topology as clusterTopology } from './admin-fixtures.ts';

const lsn = (value: number): Lsn => BigInt(value) as Lsn;
const position = fc.integer({ min: 1, max: 1000 });

describe('judgeWrite', () => {
  it('is never wrong about a write, whatever is known of the fork', () => {
    fc.assert(
      fc.property(position, position, position, position, fc.boolean(), (a, b, c, fork, isExact) => {
        // The leader's log before the write was sent, the commit's end, and the log when it was acknowledged.
        const [after = 0, commit = 0, acknowledged = 0] = [a, b, c].sort((x, y) => x - y);
        fc.pre(commit > after);
        const isLost = commit > fork;
        const write = { timeline: parseTimeline(1), lsn: lsn(acknowledged), after: lsn(after) };
        const slack = isExact ? 0 : 7;
        const fate = judgeWrite(write, { atLeast: lsn(fork - slack), atMost: lsn(fork + slack) });
        if (fate === 'kept') expect(isLost).toBe(false);
        if (fate === 'lost') expect(isLost).toBe(true);
        if (isExact && acknowledged <= fork) expect(fate).toBe('kept');
        if (isExact && after >= fork) expect(fate).toBe('lost');
      }),
    );
  });

  it('does not claim what it cannot know', () => {
    const write = { timeline: parseTimeline(1), lsn: lsn(100), after: null };
    expect(judgeWrite(write, { atLeast: null, atMost: null })).toBe('maybe-lost');
    expect(judgeWrite(write, { atLeast: lsn(99), atMost: lsn(99) })).toBe('maybe-lost');
    expect(judgeWrite({ ...write, after: lsn(99) }, { atLeast: lsn(99), atMost: lsn(99) })).toBe('lost');
  });
});

describe('the fork of a timeline', () => {
  const ancestors = [
    { timeline: 3, forkedAt: lsn(300) },
    { timeline: 5, forkedAt: lsn(500) },
  ];

  it.each([
    [3, { atLeast: 300n, atMost: 300n }],
    [5, { atLeast: 500n, atMost: 500n }],
    [4, { atLeast: null, atMost: 0n }],
    [2, { atLeast: null, atMost: null }],
  ])('%i is read off the ancestors', (timeline, bounds) => {
    expect(forkByAncestors(timeline, ancestors)).toEqual(bounds);
  });

  it('lies between what a follower had received and where it began to write', () => {
    const before = { timeline: 1, receivedLsn: lsn(100) };
    expect(forkByProbes(before, { timeline: 2, lsn: lsn(130) })).toEqual({ atLeast: 100n, atMost: 130n });
    expect(forkByProbes(before, { timeline: 3, lsn: lsn(130) })).toEqual({ atLeast: null, atMost: 130n });
    expect(forkByProbes(null, { timeline: 2, lsn: lsn(130) })).toEqual({ atLeast: null, atMost: 130n });
    expect(forkByProbes({ timeline: null, receivedLsn: lsn(1) }, { timeline: 2, lsn: null })).toEqual({
      atLeast: null,
      atMost: null,
    });
  });
});

describe('ForkWatch', () => {
  const up = (isInRecovery: boolean, timeline: number, at: number): Probe => ({
    kind: 'up',
    isInRecovery,
    server: null,
    timeline,
    lsn: lsn(at),
    receivedLsn: isInRecovery ? lsn(at) : null,
  });

  it('remembers failovers from probes alone', () => {
    const watch = new ForkWatch();
    watch.saw('a', up(false, 1, 90), 1, 0);
    watch.saw('b', up(true, 1, 100), 1, 0);
    expect(watch.forkOf(1, 2, false, 0)).toEqual({ atLeast: null, atMost: null });
    watch.saw('b', { kind: 'down', reason: 'restarting' }, null, 1);
    watch.saw('b', up(false, 2, 130), 2, 2);
    watch.saw('b', up(false, 2, 900), 2, 3);
    expect(watch.forkOf(1, 2, false, 4)).toEqual({ atLeast: 100n, atMost: 130n });
    watch.saw('a', up(true, 2, 950), 2, 5);
    watch.saw('a', up(false, 3, 960), 3, 6);
    expect(watch.forkOf(2, 3, false, 7)).toEqual({ atLeast: 950n, atMost: 960n });
    expect(watch.forkOf(1, 3, false, 7)).toEqual({ atLeast: 100n, atMost: 130n });
  });

  it('waits a while for agents, which know it exactly', () => {
    const watch = new ForkWatch();
    watch.saw('b', up(true, 1, 100), 1, 0);
    watch.saw('b', up(false, 2, 130), 2, 1000);
    expect(watch.forkOf(1, 2, true, 1500)).toBeNull();
    expect(watch.forkOf(1, 2, true, 3500)).toEqual({ atLeast: 100n, atMost: 130n });
    const forks = [{ timeline: 1, forkedAt: formatLsn(lsn(117)) }];
    watch.heard(clusterTopology({ timeline: 2, forks }));
    watch.heard(clusterTopology({ timeline: null, forks: [] }));
    watch.heard(clusterTopology({ timeline: 1, forks: [] }));
    expect(watch.forkOf(1, 2, true, 1500)).toEqual({ atLeast: 117n, atMost: 117n });
  });
});

describe("a session's token", () => {
  it('carries an unconfirmed write beside what was seen', () => {
    const token = { seen: parseToken('2-0/500'), unconfirmed: parseToken('1-0/400') };
    expect(formatSessionToken(token)).toBe('2-0/500-1-0/400');
    expect(parseSessionToken('2-0/500-1-0/400')).toEqual(token);
    expect(parseSessionToken('2-0/500')).toEqual({ ...token, unconfirmed: null });
    for (const text of ['', '1', '1-0/1-', '1-0/1-2', 'x-0/1', '1-0/1-1-0/1-1', '0-0/1', '1-0/1-0-0/1']) {
      expect(() => parseSessionToken(text)).toThrow(expect.objectContaining({ code: 'CONFIG_INVALID' }));
    }
  });

  it('keeps the write that is in doubt when two are merged', () => {
    const merge = (a: string, b: string): string =>
      formatSessionToken(mergeSessionTokens(parseSessionToken(a), parseSessionToken(b)));
    expect(merge('1-0/200-1-0/100', '1-0/300')).toBe('1-0/300-1-0/100');
    expect(merge('1-0/200-1-0/100', '1-0/300-1-0/150')).toBe('1-0/300-1-0/150');
    expect(merge('2-0/300-2-0/250', '1-0/200-1-0/100')).toBe('2-0/300-1-0/100');
  });
});
