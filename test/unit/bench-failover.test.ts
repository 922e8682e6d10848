import { describe, expect, it } from 'vitest';
import {
  countOverlaps,
  longestPauseSeconds,
  measureLoss,
  secondsToFirstWrite,
} from '../../bench/failover/acknowledgement.ts';
import type { Acknowledgement, Writer } from '../../bench/failover/acknowledgement.ts';
import { FAULTS } from '../../bench/failover/faults.ts';
import type { Fault } from '../../bench/failover/faults.ts';
import { rowsOfFault } from '../../bench/failover/rows.ts';
import type { FaultRecord, PeerRecord } from '../../bench/failover/rows.ts';
import type { FailoverRun } from '../../bench/failover/run.ts';

let nextId = 1;

function acknowledgement(
  writer: Writer,
  node: string,
  begunAtMs: number,
  endedAtMs: number,
): Acknowledgement {
  return { id: nextId++, writer, node, begunAtMs, endedAtMs, committedAtMs: endedAtMs };
}

const strike = { atMs: 1_000, doneAtMs: 1_010 };

describe('what clients saw of a fault', () => {
  it('counts from the fault to the first write that began after it', () => {
    const seen = [
      acknowledgement('plain', 'n1', 990, 1_005),
      // Begun while the fault was made: it may have been acknowledged before.
      acknowledgement('plain', 'n1', 1_006, 1_020),
      acknowledgement('direct', 'n2', 1_200, 1_210),
      acknowledgement('plain', 'n2', 1_290, 1_300),
    ];
    expect(secondsToFirstWrite(seen, 'plain', strike)).toBeCloseTo(0.3);
    expect(secondsToFirstWrite(seen, 'lockstep', strike)).toBeNull();
  });

  it('takes the longest pause from the last write before the fault to the end of the watch', () => {
    const seen = [100, 980, 1_100, 1_600, 1_650].map((at) => acknowledgement('plain', 'n1', at - 1, at));
    expect(longestPauseSeconds(seen, 'plain', strike, 1_700)).toBeCloseTo(0.5);
    expect(longestPauseSeconds(seen, 'plain', strike, 5_650)).toBeCloseTo(4);
    expect(longestPauseSeconds([], 'plain', strike, 3_000)).toBeCloseTo(2);
  });

  it('counts what the old leader acknowledged after another node had begun to', () => {
    const seen = [
      acknowledgement('direct', 'n1', 990, 1_000),
      acknowledgement('direct', 'n2', 1_190, 1_200),
      acknowledgement('direct', 'n1', 1_190, 1_199),
      acknowledgement('direct', 'n1', 1_195, 1_201),
      acknowledgement('plain', 'n1', 1_195, 1_900),
    ];
    expect(countOverlaps(seen, 'n1')).toBe(1);
    expect(countOverlaps(seen.slice(0, 1), 'n1')).toBe(0);
  });

  it('tells what was lost, apart from how much it had waited for', () => {
    const seen = [
      acknowledgement('plain', 'n1', 899, 900),
      acknowledgement('direct', 'n1', 939, 940),
      acknowledgement('direct', 'n1', 949, 950),
    ];
    const ids = seen.map(({ id }) => id);
    expect(measureLoss(seen, new Set(ids), strike, true)).toEqual({ sync: 0, async: 0, windowMs: 0 });
    expect(measureLoss(seen, new Set([ids[0] ?? 0]), strike, true)).toEqual({
      sync: 0,
      async: 2,
      windowMs: 60,
    });
    expect(measureLoss(seen, new Set(), strike, true)).toMatchObject({ sync: 1, async: 2 });
    expect(measureLoss(seen, new Set(), strike, false)).toMatchObject({ sync: 0, async: 3 });
  });
});

describe('rows of a fault', () => {
  const fault = FAULTS.find(({ name }) => name === 'host-lost') as Fault;

  function run(plainSeconds: number, extra: Partial<FailoverRun> = {}): FailoverRun {
    const empty = { lockstepSeconds: 1, overlaps: 0, reigns: 1, isStuck: false, steps: {}, uses: [] };
    return { plainSeconds, loss: { sync: 0, async: 0, windowMs: 0 }, ...empty, ...extra };
  }

  function record(runs: readonly FailoverRun[], missing: string | null = null): FaultRecord {
    return { name: 'Lockstep', runs, missing, broken: [] };
  }

  function peer(runs: readonly FailoverRun[], missing: string | null = null): PeerRecord {
    return { ...record(runs, missing), name: 'Patroni', key: 'defaults', isJudged: true };
  }

  const find = (rows: ReturnType<typeof rowsOfFault>, name: string): object | undefined =>
    rows.find(({ metric }) => metric === `host-lost/${name}`);

  it('judges the median and the worst run by their own bars', () => {
    const rows = rowsOfFault(fault, record([run(0.8), run(0.9), run(2.5)]), [peer([run(18), run(20)])]);
    expect(find(rows, 'median')).toMatchObject({ ours: 0.9, bar: '<= 1', met: true, runs: 3 });
    expect(find(rows, 'worst')).toMatchObject({ ours: 2.5, bar: '<= 2', met: false });
    expect(find(rows, 'times-faster-than-patroni-defaults')).toMatchObject({
      ours: 0.9,
      peer: 19,
      ratio: 21.111,
      bar: '>= 15',
      met: true,
    });
  });

  it('adds up over all runs what must never happen', () => {
    const lossy = run(0.5, { loss: { sync: 1, async: 2, windowMs: 7 }, overlaps: 1 });
    const rows = rowsOfFault(fault, record([lossy, run(0.5), lossy]), []);
    expect(find(rows, 'lost-synchronous-commits')).toMatchObject({ ours: 2, bar: '<= 0', met: false });
    expect(find(rows, 'lost-asynchronous-commits')).toMatchObject({ ours: 4, bar: null, met: null });
    expect(find(rows, 'overlapping-acknowledgements')).toMatchObject({ ours: 2, met: false });
  });

  it('passes nothing that was not measured', () => {
    const rows = rowsOfFault(fault, record([run(0.5)]), [peer([], 'it is not installed.')]);
    expect(find(rows, 'times-faster-than-patroni-defaults')).toMatchObject({
      ours: null,
      met: null,
      note: 'Not measured: it is not installed.',
    });
    const none = rowsOfFault(fault, record([]), [peer([run(20)])]);
    expect(none.map(({ met }) => met)).toEqual(none.map(() => null));
  });
});
