import { describe, expect, it } from 'vitest';
import { CLUSTER_FAULTS, planRound } from '../chaos/core/cluster-faults.ts';
import { checkRound, longestSilenceMs } from '../chaos/core/cluster-history.ts';
import type { ClusterWrite, Level, RoundHistory, Told } from '../chaos/core/cluster-history.ts';
import { createRandom } from '../../src/testing/simulation/random.ts';

const BOUNDS = { asyncLossMs: 2_000, wakeMs: 250 };
const FAULT_AT_MS = 10_000;

interface Given {
  readonly id: string;
  readonly level?: Level;
  readonly node?: string;
  readonly timeline?: number;
  /** When it was committed, and told. */
  readonly atMs: number;
  /** Through the client: the server's own stamp is missing. */
  readonly calledAtMs?: number;
}

function acknowledged({
  id,
  level = 'sync',
  node = 'n1',
  timeline = 1,
  atMs,
  calledAtMs,
}: Given): ClusterWrite {
  const committedAtMs = calledAtMs === undefined ? atMs : null;
  return {
    id,
    client: calledAtMs === undefined ? `direct ${node}` : 'lockstep',
    level,
    calledAtMs: calledAtMs ?? atMs - 5,
    // The answer may be late; only the stamp counts.
    endedAtMs: calledAtMs === undefined ? atMs + 3_000 : atMs,
    told: { kind: 'acknowledged', node, timeline, committedAtMs },
  };
}

function ended(id: string, told: Told): ClusterWrite {
  return { id, client: 'direct n1', level: 'sync', calledAtMs: 1, endedAtMs: 2, told };
}

function roundOf(
  writes: readonly ClusterWrite[],
  rows: Readonly<Record<string, readonly string[]>>,
): RoundHistory {
  return {
    writes,
    rows: Object.entries(rows).map(([node, ids]) => ({ node, ids: new Set(ids) })),
    faultAtMs: FAULT_AT_MS,
    wakes: [],
    timelines: [],
  };
}

/** The same rows on all three. */
function everywhere(...ids: readonly string[]): Readonly<Record<string, readonly string[]>> {
  return { n1: ids, n2: ids, n3: ids };
}

function rulesOf(round: RoundHistory): string[] {
  return checkRound(round, BOUNDS).violations.map(({ rule }) => rule);
}

const takenOver = acknowledged({ id: 'new', node: 'n2', timeline: 2, atMs: 12_000 });

describe('the history of a round', () => {
  it('holds when every acknowledged write is everywhere and leaders follow one another', () => {
    const old = acknowledged({ id: 'old', atMs: 9_000 });
    const verdict = checkRound(roundOf([old, takenOver], everywhere('old', 'new')), BOUNDS);
    expect(verdict.violations).toEqual([]);
    expect(verdict).toMatchObject({ acknowledged: 2, lost: 0, overlaps: { count: 0 } });
    expect(verdict.timelines).toEqual([
      { timeline: 1, node: 'n1', sinceMs: 9_000 },
      { timeline: 2, node: 'n2', sinceMs: 12_000 },
    ]);
  });

  it.each(['sync', 'visible'] as const)('finds a lost %s write', (level) => {
    const round = roundOf([acknowledged({ id: 'a', level, atMs: 9_000 }), takenOver], everywhere('new'));
    expect(rulesOf(round)).toEqual(['acknowledged write lost']);
    expect(checkRound(round, BOUNDS).lost).toBe(1);
  });

  it('finds a write that one node alone misses', () => {
    const round = roundOf([acknowledged({ id: 'a', atMs: 9_000 })], { n1: ['a'], n2: ['a'], n3: [] });
    expect(rulesOf(round)).toEqual(['acknowledged write lost', 'nodes differ']);
  });

  it('finds rows that only some nodes have, whatever clients were told', () => {
    const unknown = ended('u', { kind: 'unknown', code: 'none', message: 'reset' });
    expect(rulesOf(roundOf([unknown], { n1: [], n2: ['u'], n3: ['u'] }))).toEqual([
      'nodes differ',
      'nodes differ',
    ]);
    expect(rulesOf(roundOf([unknown], everywhere('u')))).toEqual([]);
    expect(rulesOf(roundOf([unknown], everywhere()))).toEqual([]);
  });

  it('finds a refused write that was applied', () => {
    const refused = ended('r', { kind: 'refused', code: '25006', message: 'read-only' });
    expect(rulesOf(roundOf([refused], everywhere()))).toEqual([]);
    expect(rulesOf(roundOf([refused], everywhere('r')))).toEqual(['refused write applied']);
  });

  it('finds one timeline that two nodes write', () => {
    const writes = [
      acknowledged({ id: 'a', node: 'n1', atMs: 9_000 }),
      acknowledged({ id: 'b', node: 'n3', atMs: 9_500 }),
    ];
    expect(rulesOf(roundOf(writes, everywhere('a', 'b')))).toEqual(['one timeline, two leaders']);
  });
});

describe('lost asynchronous writes', () => {
  const lostAt = (atMs: number): ClusterWrite => acknowledged({ id: 'a', level: 'async', atMs });

  it('are counted with their window when a failover lost them', () => {
    const verdict = checkRound(roundOf([lostAt(9_400), takenOver], everywhere('new')), BOUNDS);
    expect(verdict.violations).toEqual([]);
    expect(verdict.asyncLost).toEqual({ count: 1, windowMs: 600 });
  });

  it('break a promise when they are older than the window may be', () => {
    expect(rulesOf(roundOf([lostAt(7_900), takenOver], everywhere('new')))).toEqual([
      'asynchronous write lost from before the fault',
    ]);
  });

  it('break a promise when the leader stayed: they were on its disk', () => {
    const after = acknowledged({ id: 'b', atMs: 12_000 });
    expect(rulesOf(roundOf([lostAt(9_900), after], everywhere('b')))).toEqual([
      'asynchronous write lost without a failover',
    ]);
  });
});

describe('two leaders at once', () => {
  const late = (given: Partial<Given>): ClusterWrite => acknowledged({ id: 'late', atMs: 12_001, ...given });
  const rows = everywhere('late', 'new');

  it.each(['async', 'sync', 'visible'] as const)(
    'shows at a %s write that the old one committed too late',
    (level) => {
      const verdict = checkRound(roundOf([takenOver, late({ level })], rows), BOUNDS);
      expect(verdict.violations.map(({ rule }) => rule)).toEqual(['two leaders at once']);
      expect(verdict.overlaps).toEqual({ count: 1, allowed: 0, worstMs: 1 });
    },
  );

  it('does not show at an answer that was late only on its way', () => {
    expect(rulesOf(roundOf([takenOver, late({ atMs: 11_999 })], rows))).toEqual([]);
  });

  it('shows without a stamp only when the write was called after the new leader had answered', () => {
    const begun = acknowledged({ id: 'new', node: 'n2', timeline: 2, calledAtMs: 11_900, atMs: 12_000 });
    expect(rulesOf(roundOf([begun, late({ calledAtMs: 11_999, atMs: 12_500 })], rows))).toEqual([]);
    expect(rulesOf(roundOf([begun, late({ calledAtMs: 12_001, atMs: 12_500 })], rows))).toEqual([
      'two leaders at once',
    ]);
  });

  it('shows across rounds', () => {
    const round = {
      ...roundOf([late({})], everywhere('late')),
      timelines: [{ timeline: 2, node: 'n2', sinceMs: 500 }],
    };
    expect(rulesOf(round)).toEqual(['two leaders at once']);
  });

  it('is allowed to a leader that just woke, for that moment only and not for synchronous writes that began later', () => {
    const woken = (write: ClusterWrite, node = 'n1'): RoundHistory => ({
      ...roundOf([takenOver, write], rows),
      wakes: [{ node, suspendedAtMs: 10_000, atMs: 12_500 }],
    });
    const allowed = checkRound(woken(late({ level: 'async', atMs: 12_600 })), BOUNDS);
    expect(allowed.violations).toEqual([]);
    expect(allowed.overlaps).toEqual({ count: 1, allowed: 1, worstMs: 600 });
    const sync = (calledAtMs: number): ClusterWrite => ({ ...late({ atMs: 12_600 }), calledAtMs });
    expect(rulesOf(woken(sync(9_999)))).toEqual([]);
    expect(rulesOf(woken(sync(10_001)))).toEqual(['two leaders at once']);
    expect(rulesOf(woken(sync(12_590)))).toEqual(['two leaders at once']);
    expect(rulesOf(woken(late({ level: 'async', atMs: 12_751 })))).toEqual(['two leaders at once']);
    expect(rulesOf(woken(late({ level: 'async', atMs: 12_499 })))).toEqual(['two leaders at once']);
    expect(rulesOf(woken(late({ level: 'async', atMs: 12_600 }), 'n3'))).toEqual(['two leaders at once']);
    const throughClient = late({ level: 'async', calledAtMs: 12_600, atMs: 12_601 });
    expect(rulesOf(woken(throughClient))).toEqual(['two leaders at once']);
  });
});

describe('unavailability', () => {
  const at = (atMs: number): ClusterWrite => acknowledged({ id: String(atMs), calledAtMs: atMs - 1, atMs });

  it('is the longest silence from the fault on, also where it lasts to the end', () => {
    expect(longestSilenceMs([at(9_990), at(10_010), at(13_000), at(13_020)], 10_000, 13_100)).toBe(2_990);
    expect(longestSilenceMs([at(10_010)], 10_000, 14_010)).toBe(4_000);
    expect(longestSilenceMs([], 10_000, 11_000)).toBe(1_000);
  });
});

describe('the schedule', () => {
  const faults = (seed: number): string[] => {
    const random = createRandom(seed);
    return Array.from({ length: 300 }, () => planRound(null, random).fault);
  };

  it('draws every fault, the same ones for the same seed', () => {
    expect(faults(7)).toEqual(faults(7));
    expect(faults(7)).not.toEqual(faults(8));
    expect(new Set(faults(7))).toEqual(new Set(CLUSTER_FAULTS));
  });

  it('draws on alike when one fault is named, so that only the fault differs', () => {
    const [named, drawn] = [createRandom(3), createRandom(3)];
    expect(planRound('cut-leader', named).fault).toBe('cut-leader');
    planRound(null, drawn);
    expect(named()).toBe(drawn());
  });
});
