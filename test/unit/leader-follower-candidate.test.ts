import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseClusterConfig } from '../../src/leader-follower/config/config.ts';
import { comparePositions, plainMerit, rankByMerit } from '../../src/leader-follower/core/candidate.ts';
import type { Measures, Merit, Position } from '../../src/leader-follower/core/candidate.ts';
import { decideElection } from '../../src/leader-follower/core/elect.ts';
import type { FencedPosition } from '../../src/leader-follower/core/elect.ts';
import {
  majorityRoundTripMs,
  medianOf,
  parseSocketRoundTrips,
} from '../../src/leader-follower/election/core/measure.ts';
import {
  LOSS_COUNTS_FOR_MS,
  lossesForElection,
  lossesOf,
  observeLosses,
} from '../../src/leader-follower/election/core/reliability.ts';
import type { LossSightings } from '../../src/leader-follower/election/core/reliability.ts';
import type { Lsn } from '../../src/model/lsn.ts';
import { parseNodeId, parseTerm } from '../../src/model/node.ts';
import type { NodeId } from '../../src/model/node.ts';
import { parseTimeline } from '../../src/model/timeline.ts';
import type { TimelineHistory } from '../../src/model/timeline.ts';

const names = ['n1', 'n2', 'n3', 'n4', 'n5'].map(parseNodeId);
const [n1, n2, n3] = names as [NodeId, NodeId, NodeId];
const measured: Measures = { peerLatencyMs: 1, clientLatencyMs: 1, fsyncMs: 1, cpuHeadroom: 0.9 };

function merit(node: NodeId, changes: Partial<Measures> = {}, rest: Partial<Merit> = {}): Merit {
  return { node, failoverPriority: 1, losses: 0, measures: { ...measured, ...changes }, ...rest };
}

const figure = fc.option(fc.double({ min: 0, max: 500, noNaN: true }), { nil: null });
const anyMerit = (node: NodeId): fc.Arbitrary<Merit> =>
  fc.record({
    node: fc.constant(node),
    failoverPriority: fc.integer({ min: 0, max: 3 }),
    losses: fc.integer({ min: 0, max: 2 }),
    measures: fc.record({
      peerLatencyMs: figure,
      clientLatencyMs: figure,
      fsyncMs: figure,
      cpuHeadroom: fc.option(fc.double({ min: 0, max: 1, noNaN: true }), { nil: null }),
    }),
  });
const anyMerits = fc.tuple(...names.map(anyMerit));

/** Timelines as promotions make them: each with an ancestry of lower numbers. */
const anyHistory: fc.Arbitrary<TimelineHistory> = fc.subarray([1, 2, 3, 4], { minLength: 1 }).map((path) => ({
  timeline: parseTimeline(path.at(-1) ?? 1),
  ancestors: path.slice(0, -1).map((number) => ({
    timeline: parseTimeline(number),
    forkedAt: BigInt(number * 10) as Lsn,
  })),
}));
const anyPosition: fc.Arbitrary<Position> = fc.record({
  history: anyHistory,
  receivedLsn: fc.bigInt({ min: 0n, max: 5n }).map((lsn) => lsn as Lsn),
});

function pathOf({ history }: Position): readonly number[] {
  return [...history.ancestors.map(({ timeline }) => timeline), history.timeline];
}

describe('the data of two nodes', () => {
  it('is in a total order', () => {
    fc.assert(
      fc.property(anyPosition, anyPosition, anyPosition, (a, b, c) => {
        expect(Math.sign(comparePositions(a, b)) + Math.sign(comparePositions(b, a))).toBe(0);
        if (comparePositions(a, b) >= 0 && comparePositions(b, c) >= 0)
          expect(comparePositions(a, c)).toBeGreaterThanOrEqual(0);
      }),
      { numRuns: 2_000 },
    );
  });

  it('is newer on a descendant, at any position', () => {
    fc.assert(
      fc.property(anyPosition, anyPosition, (a, b) => {
        const [above, below] = [pathOf(a), pathOf(b)];
        fc.pre(below.length < above.length && below.every((number, index) => number === above[index]));
        expect(comparePositions(a, b)).toBeGreaterThan(0);
      }),
    );
  });
});

describe('the data of two that were promoted side by side', () => {
  it('is newer with the later number where their ways part, whatever came after', () => {
    const on = (...timelines: readonly number[]): Position => {
      const [timeline = 1, ...before] = timelines.toReversed();
      const ancestors = before
        .toReversed()
        .map((number) => ({ timeline: parseTimeline(number), forkedAt: 10n as Lsn }));
      return { history: { timeline: parseTimeline(timeline), ancestors }, receivedLsn: 50n as Lsn };
    };
    expect(comparePositions(on(1, 3), on(1, 2))).toBeGreaterThan(0);
    expect(comparePositions(on(1, 3), on(1, 2, 4))).toBeGreaterThan(0);
  });
});

describe('ranking by merit', () => {
  it('is one order, whatever order the candidates come in', () => {
    fc.assert(
      fc.property(
        anyMerits.chain((merits) =>
          fc.tuple(fc.constant(merits), fc.shuffledSubarray(merits, { minLength: merits.length })),
        ),
        ([merits, shuffled]) => {
          expect(rankByMerit(shuffled)).toEqual(rankByMerit(merits));
          expect(
            rankByMerit(merits)
              .map(({ node }) => node)
              .toSorted(),
          ).toEqual(names);
        },
      ),
    );
  });

  it('puts who lost its leadership lately last', () => {
    fc.assert(
      fc.property(anyMerits, (merits) => {
        const losses = rankByMerit(merits).map((ranked) => ranked.losses);
        expect(losses).toEqual(losses.toSorted((a, b) => a - b));
      }),
    );
  });

  it.each<readonly [string, Merit, Merit, NodeId]>([
    ['who is to be removed last', merit(n1, {}, { isLeaving: true }), merit(n2, { fsyncMs: 90 }), n2],
    ['latency first', merit(n1, { peerLatencyMs: 40 }), merit(n2, { fsyncMs: 30, cpuHeadroom: 0 }), n2],
    ['latency to clients counts alike', merit(n1, { clientLatencyMs: 40 }), merit(n2), n2],
    ['then the disk', merit(n1, { fsyncMs: 20 }), merit(n2, { cpuHeadroom: 0.1 }), n2],
    ['then the processors', merit(n1, { cpuHeadroom: 0.1 }, { failoverPriority: 9 }), merit(n2), n2],
    ['then the priority', merit(n1), merit(n2, {}, { failoverPriority: 2 }), n2],
    ['then the name', merit(n1), merit(n2), n1],
    [
      'noise does not decide',
      merit(n1, { peerLatencyMs: 0.8, fsyncMs: 1.9 }),
      merit(n2, { peerLatencyMs: 0.1, fsyncMs: 0.2 }),
      n1,
    ],
    ['what one lacks counts for none', merit(n1, { fsyncMs: 90 }), merit(n2, { fsyncMs: null }), n1],
  ])('%s', (_, a, b, winner) => {
    expect(rankByMerit([a, b])[0]?.node).toBe(winner);
    expect(rankByMerit([b, a])[0]?.node).toBe(winner);
  });
});

describe('a node of priority 0', () => {
  const positionsOf = (lsns: readonly number[]): FencedPosition[] =>
    lsns.map((lsn, index) => ({
      node: names[index] ?? n1,
      history: { timeline: parseTimeline(1), ancestors: [] },
      receivedLsn: BigInt(lsn) as Lsn,
      newestTimeline: parseTimeline(1),
    }));

  it('never stands, and whoever stands has everything that may have been acknowledged', () => {
    fc.assert(
      fc.property(
        fc.array(fc.nat(4), { minLength: 5, maxLength: 5 }),
        fc.subarray(names, { minLength: 1 }),
        fc.subarray(names),
        fc.constantFrom(...names),
        fc.constantFrom(...names),
        (lsns, members, neverLead, self, lastHolder) => {
          const positions = positionsOf(lsns);
          const view = {
            self,
            sync: { required: 1, members },
            lastHolder,
            timeline: parseTimeline(1),
            announcedTimeline: null,
            positions,
            neverLead,
          };
          if (decideElection(view).kind !== 'stand') return;
          expect(neverLead).not.toContain(self);
          if (self === lastHolder) return;
          const own = positions.find(({ node }) => node === self)?.receivedLsn ?? 0n;
          for (const { node, receivedLsn } of positions) {
            const counts = members.includes(node) || node === lastHolder || !neverLead.includes(node);
            if (counts) expect(own >= receivedLsn).toBe(true);
          }
        },
      ),
      { numRuns: 2_000 },
    );
  });

  it('is passed over with what only it has, unless it could be an acknowledged commit', () => {
    const view = {
      self: n2,
      lastHolder: n1,
      timeline: parseTimeline(1),
      announcedTimeline: null,
      neverLead: [n3],
      positions: positionsOf([1, 5, 9]).slice(1),
    };
    expect(decideElection({ ...view, sync: { required: 1, members: [n2] } }).kind).toBe('stand');
    expect(decideElection({ ...view, sync: { required: 1, members: [n2, n3] } })).toMatchObject({
      kind: 'wait',
      reason: expect.stringContaining('failoverPriority is 0') as string,
    });
  });

  it('is a setting, of which at least one node must not be it', () => {
    const config = (priorities: readonly number[]): unknown => ({
      id: 'x',
      name: 'x',
      nodes: priorities.map((failoverPriority, index) => ({
        name: `n${index + 1}`,
        host: 'h',
        port: 1 + index,
        agentPort: 11 + index,
        failoverPriority,
      })),
      secrets: {
        superuser: 'x'.repeat(16),
        replication: 'x'.repeat(16),
        app: 'x'.repeat(16),
        agent: 'x'.repeat(16),
      },
    });
    expect(parseClusterConfig(config([0, 3]), 'x').nodes.map((node) => node.failoverPriority)).toEqual([
      0, 3,
    ]);
    expect(() => parseClusterConfig(config([0, 0]), 'x')).toThrow(/lets no node lead/);
    expect(() => parseClusterConfig(config([-1, 1]), 'x')).toThrow(/failoverPriority/);
  });
});

describe('lost leaderships', () => {
  const leadership = {
    holder: n1,
    term: parseTerm(1),
    nonce: 'x',
    ttlMs: 1,
    isReleased: false,
    successor: null,
    timeline: null,
  };
  /** `holders` lose the leadership one after the other, a second apart. */
  function lose(holders: readonly NodeId[]): {
    state: Parameters<typeof lossesForElection>[0];
    seen: LossSightings;
    nowMs: number;
  } {
    let state: Parameters<typeof lossesForElection>[0] = { leadership };
    let seen: LossSightings = new Map();
    for (const [index, holder] of holders.entries()) {
      const nowMs = index * 1_000;
      state = { ...state, leadership: { ...leadership, holder, term: parseTerm(index + 1) } };
      state = { ...state, lostLeaderships: lossesForElection(state, seen, nowMs) };
      seen = observeLosses(seen, state, nowMs);
    }
    return { state, seen, nowMs: holders.length * 1_000 };
  }

  it('speak against a node from the second on, for some minutes', () => {
    const { state, seen, nowMs } = lose([n1, n2, n1, n1]);
    expect([n1, n2, n3].map((node) => lossesOf(node, state, seen, nowMs))).toEqual([2, 0, 0]);
    expect(lossesOf(n1, state, seen, nowMs + LOSS_COUNTS_FOR_MS)).toBe(0);
    expect(lossesForElection(state, seen, nowMs + LOSS_COUNTS_FOR_MS)).toHaveLength(1);
  });

  it('are not those that were handed over, and the register stays small', () => {
    const released = { ...leadership, isReleased: true, successor: n2 };
    expect(lossesForElection({ leadership: released }, new Map(), 0)).toEqual([]);
    const resigned = { ...leadership, isReleased: true, isResigned: true };
    expect(lossesForElection({ leadership: resigned }, new Map(), 0)).toEqual([]);
    // A leader that gives up because its disk or its PostgreSQL failed has lost its leadership.
    const failed = { ...leadership, isReleased: true, isResigned: false };
    expect(lossesForElection({ leadership: failed }, new Map(), 0)).toHaveLength(1);
    // It resigned once, began another term and was lost in that.
    const lostLater = { ...leadership, isReleased: false, isResigned: true };
    expect(lossesForElection({ leadership: lostLater }, new Map(), 0)).toHaveLength(1);
    expect(lose(Array.from({ length: 30 }, () => n1)).state.lostLeaderships).toHaveLength(8);
  });
});

describe('measures', () => {
  it('take the round trip to the nearest majority', () => {
    expect(majorityRoundTripMs([], 1)).toBe(0);
    expect(majorityRoundTripMs([9, 3], 3)).toBe(3);
    expect(majorityRoundTripMs([null, 9], 3)).toBe(9);
    expect(majorityRoundTripMs([4, 3, 2, 1], 5)).toBe(2);
    expect(majorityRoundTripMs([4, null, null, null], 5)).toBe(null);
    expect(medianOf([3, 1, 2])).toBe(2);
    expect(medianOf([])).toBe(null);
  });

  it('read what ss prints', () => {
    const printed = [
      '0      0      127.0.0.1:5441 127.0.0.1:50514      ',
      '\t cubic wscale:7,7 rto:204 rtt:0.041/0.02 ato:40 mss:32768',
      '0      0      [::ffff:10.0.0.2]:5441 [::ffff:10.0.0.7]:41000 ',
      '\t cubic rto:230 rtt:28.5/4.1 minrtt:27.9',
      '0      0      [::1]:5441 [::1]:41001 cubic rtt:0.3/0.1',
    ].join('\n');
    expect([...parseSocketRoundTrips(printed)]).toEqual([
      ['127.0.0.1:50514', 0.041],
      ['10.0.0.7:41000', 28.5],
      ['::1:41001', 0.3],
    ]);
  });

  it('of a node that nothing is known of change nothing', () => {
    expect(rankByMerit([plainMerit(n2), plainMerit(n1)]).map(({ node }) => node)).toEqual([n1, n2]);
  });
});
