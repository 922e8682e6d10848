import { describe, expect, it } from 'vitest';
import type { Performance } from '../../bench/contest.ts';
import type { Round } from '../../bench/contestant.ts';
import { quoteResult, replaceRows } from '../../bench/kept-result.ts';
import { judge, operationsPerSecond, p99Ms } from '../../bench/row-plan.ts';
import type { RowPlan } from '../../bench/row-plan.ts';

function performance(
  key: string,
  rounds: readonly Partial<Round>[],
  unsupported: string | null = null,
): Performance {
  const empty: Round = {
    operations: 1,
    operationsPerSecond: 1,
    p50Ms: 1,
    p99Ms: 1,
    counters: {},
    cpuMs: 1,
    memoryMb: 1,
  };
  const plan = { key, name: `the ${key}`, workload: '', options: null };
  return { plan, rounds: rounds.map((round) => ({ ...empty, ...round })), uses: [], unsupported };
}

const outcome = new Map([
  [
    'ours',
    performance(
      'ours',
      [100, 98, 40].map((value) => ({ operationsPerSecond: value, p99Ms: 1.2 })),
    ),
  ],
  [
    'peer',
    performance(
      'peer',
      [100, 100, 50].map((value) => ({ operationsPerSecond: value })),
    ),
  ],
  ['missing', performance('missing', [], 'it is not installed.')],
]);

const throughput: RowPlan = {
  metric: 'read/throughput',
  unit: 'reads/s',
  ours: 'ours',
  peer: 'peer',
  measure: operationsPerSecond,
  bar: { least: 0.97 },
};

describe('a row', () => {
  it('holds the medians, the median ratio, and whether the bar is met', () => {
    expect(judge(throughput, outcome)).toMatchObject({
      ours: 98,
      peer: 100,
      ratio: 0.98,
      bar: '>= 0.97',
      met: true,
      runs: 3,
    });
    expect(judge({ ...throughput, bar: { above: 0.98 } }, outcome).met).toBe(false);
    expect(judge({ ...throughput, measure: p99Ms, bar: { most: 1.1 } }, outcome)).toMatchObject({
      ratio: 1.2,
      met: false,
    });
    expect(judge({ ...throughput, bar: null }, outcome).met).toBeNull();
  });

  it('judges our own figure where there is no peer, also the sum of all rounds', () => {
    const plan: RowPlan = { ...throughput, peer: null, bar: { most: 0 }, combine: 'sum' };
    expect(judge(plan, outcome)).toMatchObject({ ours: 238, ratio: null, peer: null, met: false });
    expect(judge({ ...plan, measure: () => 0 }, outcome).met).toBe(true);
  });

  it('never passes when a side is missing', () => {
    const row = judge({ ...throughput, peer: 'missing' }, outcome);
    expect(row).toMatchObject({ ours: null, peer: null, ratio: null, met: null, peerName: 'the missing' });
    expect(row.note).toBe('Not measured: it is not installed.');
    expect(judge({ ...throughput, ours: 'missing' }, outcome).met).toBeNull();
  });
});

describe('the documentation', () => {
  it('quotes the result between its marks and leaves the rest', () => {
    const document = 'before\n<!-- results: client -->\nold\n<!-- end of results: client -->\nafter\n';
    const rows = [judge(throughput, outcome)];
    const result = { when: '2026-01-02T03:04:05.000Z', machine: 'a machine', rows };
    const quoted = quoteResult(document, 'client', result);
    expect(quoted).toMatch(/^before\n<!-- results: client -->\n\nMeasured 2026-01-02 on a machine\.\n/);
    expect(quoted).toContain('| read/throughput | 98 reads/s | 100  | the peer | 0.98x | >= 0.97 | yes |');
    expect(quoted).toMatch(/<!-- end of results: client -->\nafter\n$/);
    expect(quoted).not.toContain('old');
    expect(quoteResult(quoted, 'client', result)).toBe(quoted);
    expect(() => quoteResult('nothing', 'client', result)).toThrow('no place');
  });

  it('says which rows were measured again, and takes none that the full run does not have', () => {
    const row = judge(throughput, outcome);
    const kept = {
      when: '2026-01-02T03:04:05.000Z',
      machine: 'a machine',
      rows: [row, { ...row, metric: 'x' }],
    };
    const part = { ...kept, when: '2026-02-03T04:05:06.000Z', rows: [{ ...row, ours: 7, note: 'alone' }] };
    const both = replaceRows(kept, part);
    expect(both.rows).toMatchObject([
      { metric: row.metric, ours: 7 },
      { metric: 'x', ours: row.ours },
    ]);
    const document = '<!-- results: client --><!-- end of results: client -->';
    const quoted = quoteResult(document, 'client', both);
    expect(quoted).toContain('Measured 2026-01-02 on a machine.');
    expect(quoted).toContain(`- \`${row.metric}\`: measured again, on its own, 2026-02-03; alone`);
    expect(quoted).not.toContain('`x`:');
    const [x] = kept.rows.slice(1);
    expect(replaceRows({ ...kept, rows: x === undefined ? [] : [x] }, part).rows).toMatchObject([
      { metric: 'x' },
      { metric: row.metric, ours: 7 },
    ]);
  });
});
