import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  countRows,
  LogReading,
  piecesOf,
  segmentNames,
  surplusOf,
} from '../../src/leader-follower/rejoin/core/lost-writes.ts';
import { decideRejoin, lostLog } from '../../src/leader-follower/core/rejoin.ts';
import { RetryDelay } from '../../src/leader-follower/rejoin/core/retry-delay.ts';
import { parseLsn } from '../../src/model/lsn.ts';
import { isSharedHistory, parseTimeline, sharedUntil } from '../../src/model/timeline.ts';
import type { TimelineHistory } from '../../src/model/timeline.ts';

/** `1@0/100 2` is timeline 2, forked off timeline 1 at 0/100. */
function history(text: string): TimelineHistory {
  const steps = text.split(' ').map((step) => step.split('@'));
  return {
    timeline: parseTimeline(Number(steps.at(-1)?.[0])),
    ancestors: steps.slice(0, -1).map(([timeline, lsn]) => ({
      timeline: parseTimeline(Number(timeline)),
      forkedAt: parseLsn(lsn ?? ''),
    })),
  };
}

describe('what a node has beyond the leader', () => {
  it.each([
    ['nothing on the same timeline', '1', '0/200', '1', null],
    ['nothing before the fork', '1', '0/100', '1@0/100 2', null],
    ['what is past the fork', '1', '0/101', '1@0/100 2', ['1', '0/100', '0/101']],
    ['its own promotion', '1@0/90 2', '0/A0', '1@0/100 3', ['1', '0/90', '0/A0']],
    ['its own promotion, after the fork', '1@0/120 2', '0/150', '1@0/100 3', ['1', '0/100', '0/150']],
    ['another timeline of the same number', '1@0/90 2', '0/A0', '1@0/100 2', ['1', '0/90', '0/A0']],
    ['a promotion that the leader never saw', '1@0/90 2', '0/A0', '1', ['1', '0/90', '0/A0']],
  ])('is %s', (_, local, end, leader, expected) => {
    const lost = lostLog(history(local), parseLsn(end), history(leader));
    if (expected === null) return expect(lost).toBe(null);
    const [timeline, fork, to] = expected;
    expect(lost).toEqual({
      fork: { timeline: Number(timeline), forkedAt: parseLsn(fork ?? '') },
      endLsn: parseLsn(to ?? ''),
    });
  });

  it('is compared the same from both sides', () => {
    const texts = ['1', '1@0/100 2', '1@0/90 2', '1@0/90 3', '1@0/90 2@0/95 4', '1@0/100 2@0/200 3'];
    fc.assert(
      fc.property(fc.constantFrom(...texts), fc.constantFrom(...texts), (left, right) => {
        const [a, b] = [history(left), history(right)];
        expect(sharedUntil(a, b)).toEqual(sharedUntil(b, a));
        expect(sharedUntil(a, b) === null).toBe(left === right);
        if (left === right) expect(isSharedHistory(a, b, parseLsn('F/0'))).toBe(true);
      }),
    );
  });

  it('is copied, not rewound, where pg_rewind could not see it', () => {
    const view = {
      localSystemIdentifier: 'x',
      clusterSystemIdentifier: 'x',
      localHistory: history('1@0/90 2'),
      localEndLsn: parseLsn('0/A0'),
      canRewind: true,
      hasRewindFailed: false,
    };
    expect(decideRejoin({ ...view, leaderHistory: history('1@0/100 2') }).kind).toBe('reclone');
    expect(decideRejoin({ ...view, leaderHistory: history('1@0/80 3') }).kind).toBe('rewind');
  });

  it('lies in segments of each timeline', () => {
    const local = history('1@0/2000000 2');
    const lost = lostLog(local, parseLsn('0/3000001'), history('1@0/1FFFFFF 3'));
    const pieces = lost === null ? [] : piecesOf(lost, local);
    expect(pieces.map(({ timeline }) => timeline)).toEqual([1, 2]);
    expect(pieces.map((piece) => segmentNames(piece, 16 * 2 ** 20))).toEqual([
      ['000000010000000000000001'],
      ['000000020000000000000002', '000000020000000000000003'],
    ]);
    const far = { timeline: parseTimeline(10), fromLsn: parseLsn('1/FFFFFFFF'), toLsn: parseLsn('2/1') };
    expect(segmentNames(far, 16 * 2 ** 20)).toEqual(['0000000A00000001000000FF', '0000000A0000000200000000']);
  });
});

describe('the reading of a log', () => {
  const line = (manager: string, tx: number, words: string): string =>
    `rmgr: ${manager} len (rec/tot): 46/46, tx: ${tx}, lsn: 0/01526928, prev 0/015268E8, desc: ${words}`;

  it('finds commits with their parts, and the rows that were written', () => {
    const log = new LogReading();
    log.add(line('Heap', 7, 'INSERT+INIT off 1 flags 0x08, blkref #0: rel 1663/5/16384 blk 0'));
    log.add(
      line(
        'Heap',
        7,
        'HOT_UPDATE off 1 xmax 7 flags 0x10 ; new off 3 xmax 0, blkref #0: rel 1663/5/16384 blk 4',
      ),
    );
    log.add(
      line('Heap', 7, 'DELETE off: 2, infobits: [KEYS_UPDATED], blkref #0: rel 1663/5/16384 blk 9 FPW'),
    );
    log.add(line('Heap2', 7, 'MULTI_INSERT ntuples: 4, flags: 0x02, blkref #0: rel 1663/5/16385 blk 1'));
    log.add(line('Transaction', 7, 'COMMIT 2026-11-24 16:00:12.313270 UTC; subxacts: 8 9'));
    log.add(line('Transaction', 9, 'PREPARE gid x: 2026-11-24 16:00:12.3 UTC'));
    log.add(line('Transaction', 0, 'COMMIT_PREPARED 9: 2026-11-24 16:00:13 UTC'));
    expect(log.transactions.map(({ kind, xid, at, subxids }) => [kind, xid, at, subxids])).toEqual([
      ['commit', 7, '2026-11-24 16:00:12.313270 UTC', [8, 9]],
      ['prepared', 9, '2026-11-24 16:00:12.3 UTC', []],
      ['commit', 9, '2026-11-24 16:00:13 UTC', []],
    ]);
    const tables = [...log.tables.values()].map((table) => ({
      file: `${table.databaseOid}/${table.fileNode}`,
      blocks: [...table.blocks],
      ...countRows(table, [7, 8, 9]),
    }));
    expect(tables).toEqual([
      { file: '5/16384', blocks: [0, 4], inserted: 1, updated: 1, deleted: 1 },
      { file: '5/16385', blocks: [1], inserted: 4, updated: 0, deleted: 0 },
    ]);
  });

  it('counts no row of a transaction that was rolled back', () => {
    const log = new LogReading();
    for (const xid of [7, 8])
      log.add(line('Heap', xid, 'INSERT off 1 flags 0x08, blkref #0: rel 1663/5/16384 blk 0'));
    const table = log.tables.get('5/16384');
    expect(table && countRows(table, [7]).inserted).toBe(1);
  });

  it('takes only what surely is no commit for none', () => {
    const log = new LogReading();
    log.add(line('Transaction', 7, 'ABORT 2026-11-24 16:00:12.3 UTC'));
    log.add('some other line');
    expect(log.isFreeOfCommits).toBe(true);
    log.add(line('Transaction', 8, 'COMMITTED in words to come'));
    expect(log.isFreeOfCommits).toBe(false);
  });
});

describe('what was put aside', () => {
  it('keeps the newest within number and size, and always the last one', () => {
    const logs = fc.array(fc.record({ name: fc.string(), bytes: fc.nat(100), savedAtMs: fc.nat() }), {
      minLength: 1,
    });
    fc.assert(
      fc.property(logs, (saved) => {
        const limit = { count: 3, bytes: 150 };
        const surplus = surplusOf(saved, limit);
        const kept = saved.filter((log) => !surplus.includes(log));
        expect(kept.length).toBeGreaterThan(0);
        expect(kept.length).toBeLessThanOrEqual(limit.count);
        if (kept.length > 1) expect(kept.reduce((sum, { bytes }) => sum + bytes, 0)).toBeLessThanOrEqual(150);
        const oldestKeptMs = Math.min(...kept.map(({ savedAtMs }) => savedAtMs));
        for (const { savedAtMs } of surplus) expect(savedAtMs).toBeLessThanOrEqual(oldestKeptMs);
      }),
    );
  });

  it('is not waited for: a copy that fails is tried again later and later', () => {
    const retry = new RetryDelay({ firstMs: 1_000, longestMs: 3_000 });
    expect(retry.waitMs(0)).toBe(0);
    const waits = [0, 0, 0].map((nowMs) => (retry.failed(nowMs), retry.waitMs(nowMs)));
    expect(waits).toEqual([1_000, 2_000, 3_000]);
    expect(retry.waitMs(2_500)).toBe(500);
    retry.succeeded();
    expect(retry.waitMs(0)).toBe(0);
  });
});
