import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { addArrival, oldestUnreplayedMs } from '../../src/leader-follower/delayed/core/arrivals.ts';
import { checkDelay } from '../../src/leader-follower/delayed/core/delay.ts';
import { decideLogStart, isWithin } from '../../src/leader-follower/delayed/core/log-start.ts';
import { untilArrived } from '../../src/leader-follower/delayed/log-arrival.ts';
import { piecesOf } from '../../src/leader-follower/delayed/log-reading.ts';
import type { Clock } from '../../src/model/clock.ts';
import { formatDelay, parseDuration } from '../../src/model/duration.ts';
import type { Lsn } from '../../src/model/lsn.ts';
import { parseTimeline } from '../../src/model/timeline.ts';
import type { Timeline, TimelineHistory } from '../../src/model/timeline.ts';

const SEGMENT = 0x40_0000n;

function history(timeline: number, ...forks: readonly (readonly [number, bigint])[]): TimelineHistory {
  return {
    timeline: parseTimeline(timeline),
    ancestors: forks.map(([parent, at]) => ({ timeline: parseTimeline(parent), forkedAt: at as Lsn })),
  };
}

describe('a delay', () => {
  it('is read back as it is written', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 2_147_483_647 }), (ms) => {
        expect(parseDuration(formatDelay(ms), 'the delay')).toBe(ms);
      }),
    );
  });

  it('has a unit and a size that PostgreSQL takes', () => {
    expect(checkDelay('10min')).toBe(600_000);
    expect(checkDelay('24d')).toBe(24 * 86_400_000);
    for (const text of ['', '10', 'soon', '-1h', '1.5h', '1h30m', '10 parsecs', '0s', '500ms', '25d'])
      expect(() => checkDelay(text), text).toThrow(expect.objectContaining({ code: 'CONFIG_INVALID' }));
  });
});

describe('where a delayed node goes on receiving', () => {
  const needed = { timeline: parseTimeline(1), lsn: 0x123_4567n as Lsn };

  it('begins at the segment that PostgreSQL is in', () => {
    expect(
      decideLogStart({ newest: null, needed: null, source: history(1), ended: null }, SEGMENT).kind,
    ).toBe('wait');
    expect(decideLogStart({ newest: null, needed, source: history(1), ended: null }, SEGMENT)).toEqual({
      kind: 'stream',
      timeline: 1,
      from: 0x100_0000n,
      cut: null,
    });
  });

  it('goes on with its newest segment on the same timeline', () => {
    const newest = { history: history(1), segmentStart: 0x200_0000n as Lsn };
    expect(decideLogStart({ newest, needed, source: history(1), ended: null }, SEGMENT)).toMatchObject({
      from: 0x200_0000n,
      cut: null,
    });
  });

  it('goes over to the next timeline at the segment of the fork, and cuts what lies past it', () => {
    const newest = { history: history(1), segmentStart: 0x240_0000n as Lsn };
    const source = history(2, [1, 0x210_0000n]);
    expect(decideLogStart({ newest, needed, source, ended: null }, SEGMENT)).toEqual({
      kind: 'stream',
      timeline: 2,
      from: 0x200_0000n,
      cut: { timeline: 1, forkedAt: 0x210_0000n },
    });
  });

  it('takes the rest of an ancestor first', () => {
    const newest = { history: history(1), segmentStart: 0x100_0000n as Lsn };
    const source = history(3, [1, 0x210_0000n], [2, 0x300_0000n]);
    expect(decideLogStart({ newest, needed, source, ended: null }, SEGMENT)).toMatchObject({
      timeline: 1,
      from: 0x100_0000n,
    });
  });

  it('goes on when an ancestor ends where a segment does, of which nothing more comes', () => {
    const newest = { history: history(1), segmentStart: 0x1c0_0000n as Lsn };
    const view = { newest, needed, source: history(2, [1, 0x200_0000n]) };
    expect(decideLogStart({ ...view, ended: null }, SEGMENT)).toMatchObject({
      timeline: 1,
      from: 0x1c0_0000n,
    });
    const ended = parseTimeline(1);
    expect(decideLogStart({ ...view, ended }, SEGMENT)).toMatchObject({ timeline: 2, from: 0x200_0000n });
  });

  it('never leaves anything past a fork, nor a gap before it', () => {
    fc.assert(
      fc.property(fc.bigInt(1n, 200n), fc.bigInt(1n, 200n * SEGMENT), (segment, fork) => {
        const newest = { history: history(1), segmentStart: (segment * SEGMENT) as Lsn };
        const start = decideLogStart({ newest, needed, source: history(2, [1, fork]), ended: null }, SEGMENT);
        if (start.kind !== 'stream') throw new Error('it waits');
        expect(start.cut).toEqual({ timeline: 1, forkedAt: fork });
        expect(start.from % SEGMENT).toBe(0n);
        expect(start.from <= newest.segmentStart || start.timeline === 1).toBe(true);
        expect(start.from).toBe(start.timeline === 1 ? newest.segmentStart : fork - (fork % SEGMENT));
      }),
    );
  });
});

describe('what a delayed node has replayed', () => {
  it('is part of a history up to where that left the timeline, and of its own timeline', () => {
    const source = history(3, [1, 100n], [2, 200n]);
    const within = (timeline: number, lsn: bigint): boolean =>
      isWithin(source, { timeline, lsn: lsn as Lsn });
    expect([within(1, 100n), within(2, 200n), within(3, 900n)]).toEqual([true, true, true]);
    expect([within(1, 101n), within(2, 201n), within(4, 1n)]).toEqual([false, false, false]);
  });
});

describe('the age of what is not replayed', () => {
  it('is that of the oldest log past replay', () => {
    let arrivals = addArrival([], { lsn: 10n as Lsn, atMs: 1_000 }, null);
    arrivals = addArrival(arrivals, { lsn: 10n as Lsn, atMs: 2_000 }, null);
    arrivals = addArrival(arrivals, { lsn: 20n as Lsn, atMs: 3_000 }, null);
    expect(oldestUnreplayedMs(arrivals, 5n as Lsn, 20n as Lsn, 10_000)).toBe(9_000);
    expect(oldestUnreplayedMs(arrivals, 10n as Lsn, 20n as Lsn, 10_000)).toBe(7_000);
    expect(oldestUnreplayedMs(arrivals, 20n as Lsn, 20n as Lsn, 10_000)).toBe(0);
    expect(oldestUnreplayedMs([], 10n as Lsn, 20n as Lsn, 10_000)).toBeNull();
  });

  it('stays bounded and forgets what is replayed', () => {
    let arrivals = addArrival([], { lsn: 1n as Lsn, atMs: 0 }, null);
    for (let at = 2n; at < 20_000n; at += 1n)
      arrivals = addArrival(arrivals, { lsn: at as Lsn, atMs: Number(at) }, null);
    expect(arrivals.length).toBeLessThanOrEqual(2_000);
    expect(oldestUnreplayedMs(arrivals, 0n as Lsn, 20_000n as Lsn, 20_000)).toBeGreaterThan(19_000);
    expect(addArrival(arrivals, { lsn: 30_000n as Lsn, atMs: 1 }, 29_999n as Lsn)).toHaveLength(1);
  });
});

describe('the log by timelines', () => {
  it('is read piece by piece, each on its own timeline', () => {
    const pieces = piecesOf({
      history: history(3, [1, 100n], [2, 200n]),
      fromLsn: 150n as Lsn,
      toLsn: 300n as Lsn,
    });
    expect(pieces.map(({ timeline, fromLsn, toLsn }) => [timeline, fromLsn, toLsn])).toEqual([
      [2, 150n, 200n],
      [3, 200n, 300n],
    ]);
  });
});

describe('what a rescue is asked about', () => {
  /** A node that receives what is next each time that somebody waits. */
  function receiving(...next: readonly (readonly [timeline: number, lsn: bigint])[]): {
    readonly clock: Clock;
    readonly keeper: Parameters<typeof untilArrived>[1];
    readonly waits: () => number;
  } {
    let nowMs = 0;
    let waits = 0;
    const at = (): readonly [number, bigint] | undefined => next[Math.min(waits, next.length) - 1];
    return {
      clock: {
        nowMs: () => nowMs,
        after: () => () => undefined,
        sleep: async (ms) => {
          nowMs += ms;
          waits += 1;
        },
      },
      keeper: {
        get timeline() {
          return (at()?.[0] ?? null) as Timeline | null;
        },
        get flushedLsn() {
          return (at()?.[1] ?? null) as Lsn | null;
        },
      },
      waits: () => waits,
    };
  }

  const written = { timeline: 2, lsn: 0x500n as Lsn };

  it("is waited for until it is here, on the leader's timeline", async () => {
    const { clock, keeper, waits } = receiving([1, 0x400n], [1, 0x600n], [2, 0x480n], [2, 0x500n]);
    expect(await untilArrived(clock, keeper, written)).toBeNull();
    expect(waits()).toBe(4);
  });

  it('is waited for no longer than it is worth, and what is missing is told', async () => {
    const { clock, keeper } = receiving([2, 0x400n]);
    expect(await untilArrived(clock, keeper, written)).toEqual({ receivedLsn: '0/400', leaderLsn: '0/500' });
    expect(clock.nowMs()).toBeLessThan(60_000);
    const empty = receiving();
    expect(await untilArrived(empty.clock, empty.keeper, null)).toEqual({
      receivedLsn: null,
      leaderLsn: null,
    });
  });

  it('is the first log that comes where no leader can be asked', async () => {
    const { clock, keeper, waits } = receiving([2, 0x400n]);
    expect(await untilArrived(clock, keeper, null)).toEqual({ receivedLsn: '0/400', leaderLsn: null });
    expect(waits()).toBe(1);
  });
});
