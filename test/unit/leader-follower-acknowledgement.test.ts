import { describe, expect, it } from 'vitest';
import { AcknowledgementWatch } from '../../src/leader-follower/report/acknowledgement-watch.ts';
import { waitedForInVain } from '../../src/leader-follower/report/core/acknowledgement.ts';
import type { Lsn } from '../../src/model/lsn.ts';
import type { Probe } from '../../src/postgres/probe.ts';
import { LEADER_PROBE } from './leader-probe.ts';

/** What the leader's PostgreSQL shows. A follower that is left out is not connected. */
function probe(leaderLsn: number, flushed: Readonly<Record<string, number | null>>, names: string): Probe {
  return {
    ...LEADER_PROBE,
    receivedLsn: BigInt(leaderLsn) as Lsn,
    replayedLsn: BigInt(leaderLsn) as Lsn,
    synchronousStandbyNames: names,
    followers: Object.entries(flushed).map(([name, lsn]) => ({
      name,
      isStreaming: true,
      flushLsn: lsn === null ? null : (BigInt(lsn) as Lsn),
    })),
  };
}

type Look = readonly [atMs: number, leaderLsn: number, flushed: Readonly<Record<string, number | null>>];

const lastLooks: readonly [string, readonly Look[], string, readonly string[]][] = [
  [
    'acknowledge',
    [
      [0, 10, { n2: 10, n3: 10 }],
      [60_000, 20, { n2: 20, n3: 20 }],
    ],
    'ANY 1 (n2, n3)',
    [],
  ],
  [
    'have all of an idle leader',
    [
      [0, 10, { n2: 10 }],
      [60_000, 10, { n2: 10 }],
    ],
    'ANY 1 (n2)',
    [],
  ],
  [
    'are slow',
    [
      [0, 10, { n2: 1 }],
      [2_900, 900, { n2: 2 }],
      [5_800, 9_000, { n2: 3 }],
    ],
    'ANY 1 (n2)',
    [],
  ],
  [
    'catch up and told nothing yet, for moments',
    [
      [0, 10, {}],
      [2_900, 20, { n2: null }],
    ],
    'ANY 1 (n2)',
    [],
  ],
  [
    'come back in time',
    [
      [0, 10, { n2: 10 }],
      [2_000, 20, {}],
      [2_900, 30, { n2: 10 }],
      [3_000, 40, { n2: 40 }],
    ],
    'ANY 1 (n2)',
    [],
  ],
  [
    'hang',
    [
      [0, 10, { n2: 10 }],
      [2_900, 20, { n2: 10 }],
      [3_000, 30, { n2: 10 }],
    ],
    'ANY 1 (n2)',
    ['n2'],
  ],
  [
    'are gone',
    [
      [0, 10, { n2: 10 }],
      [3_000, 10, {}],
    ],
    'ANY 1 (n2)',
    ['n2'],
  ],
  [
    'never came',
    [
      [0, 10, {}],
      [3_000, 10, {}],
    ],
    'ANY 1 (n2)',
    ['n2'],
  ],
  [
    'came back',
    [
      [0, 10, { n2: 10 }],
      [9_000, 10, {}],
      [9_100, 20, { n2: 11 }],
    ],
    'ANY 1 (n2)',
    [],
  ],
  [
    'are recorded alone',
    [
      [0, 10, {}],
      [3_000, 10, {}],
    ],
    '',
    ['n3'],
  ],
];

describe('the followers that a leader hears', () => {
  it.each(lastLooks)('%s', (what, looks, names, silent) => {
    let nowMs = 0;
    const watch = new AcknowledgementWatch({ nowMs: () => nowMs });
    for (const [atMs, leaderLsn, flushed] of looks) {
      nowMs = atMs;
      watch.see(probe(leaderLsn, flushed, names), what === 'are recorded alone' ? ['n3'] : []);
    }
    expect(watch.seen?.silent).toEqual(silent);
  });

  it('get their time anew from a new leader, and are told of by nobody else', () => {
    let nowMs = 0;
    const watch = new AcknowledgementWatch({ nowMs: () => nowMs });
    watch.see(probe(10, {}, 'ANY 1 (n2)'), []);
    nowMs = 5_000;
    watch.see({ ...probe(10, {}, ''), isInRecovery: true }, []);
    expect(watch.seen).toBeUndefined();
    watch.see(probe(10, {}, 'ANY 1 (n2)'), []);
    expect(watch.seen).toEqual({ required: 1, members: ['n2'], silent: [] });
    nowMs = 8_000;
    // PostgreSQL did not answer: what was known stands.
    watch.see(null, []);
    expect(watch.seen?.silent).toEqual([]);
  });
});

describe('whom synchronous commits wait for', () => {
  it.each([
    ['nobody where all acknowledge', 2, ['n2', 'n3'], [], []],
    ['nobody while enough others acknowledge', 1, ['n2', 'n3'], ['n3'], []],
    ['who is silent where all are needed', 2, ['n2', 'n3'], ['n3'], ['n3']],
    ['all of them where all are silent', 1, ['n2', 'n3'], ['n2', 'n3'], ['n2', 'n3']],
    ['nobody who is not counted', 1, ['n2'], ['n3'], []],
    ['nobody where none is counted', 0, [], ['n3'], []],
  ])('is %s', (_, required, members, silent, expected) => {
    expect(waitedForInVain({ required, members, silent })).toEqual(expected);
  });
});
