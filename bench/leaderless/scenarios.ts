import { operationsPerSecond, p50Ms } from '../row-plan.ts';
import type { RowPlan } from '../row-plan.ts';
import type { Bar } from '../result.ts';
import type { Operation } from './operations.ts';

/** Who takes part beside Lockstep. `etcd` stands for the faster of its two doors. */
export type Peer = 'etcd' | 'etcd-combined' | 'floor';

export interface Scenario {
  /** What its metrics' names begin with. */
  readonly name: string;
  readonly operation: Operation;
  readonly callers: number;
  readonly rows: readonly (Pick<RowPlan, 'unit' | 'measure' | 'bar'> & {
    readonly metric: string;
    readonly against: Peer;
  })[];
}

const throughput = (unit: string, against: Peer, bar: Bar | null): Scenario['rows'][number] => ({
  metric: against === 'etcd' ? 'throughput' : `throughput-${against}`,
  unit: `${unit}/s`,
  measure: operationsPerSecond,
  bar,
  against,
});
const latency = (bar: Bar | null): Scenario['rows'][number] => ({
  metric: 'p50',
  unit: 'ms',
  measure: p50Ms,
  bar,
  against: 'etcd',
});

interface Bars {
  readonly unit: string;
  /** At 64 callers. */
  readonly least: number | null;
  /** Of one caller's latency. */
  readonly mostLatency: number | null;
}

/** One operation by 1, 64 and 1,000 callers. */
function scenarios(operation: Operation, { unit, least, mostLatency }: Bars): readonly Scenario[] {
  return [1, 64, 1_000].map((callers): Scenario => {
    const bar = callers === 64 && least !== null ? { least } : null;
    const rows =
      callers === 1
        ? [latency(mostLatency === null ? null : { most: mostLatency })]
        : [throughput(unit, 'etcd', bar), { ...latency(null) }];
    const floor = operation === 'put' && callers > 1 ? [throughput(unit, 'floor', { least: 0.9 })] : [];
    return { name: `${operation}/${callers}`, operation, callers, rows: [...rows, ...floor] };
  });
}

export const SCENARIOS: readonly Scenario[] = [
  ...scenarios('put', { unit: 'puts', least: 4, mostLatency: 0.8 }),
  ...scenarios('get', { unit: 'gets', least: 5, mostLatency: null }),
  ...scenarios('compare-and-set', { unit: 'changes', least: 8, mostLatency: 0.8 }),
  {
    name: 'hot-key/64',
    operation: 'hot-key',
    callers: 64,
    rows: [
      throughput('changes', 'etcd', { least: 10 }),
      throughput('changes', 'etcd-combined', null),
      latency(null),
    ],
  },
  ...scenarios('quiet-get', { unit: 'gets', least: null, mostLatency: null }),
];
