import { operationsPerSecond, p50Ms, p99Ms } from '../../row-plan.ts';
import type { RowPlan } from '../../row-plan.ts';
import { workloadUrl } from '../scenario.ts';
import type { Scenario } from '../scenario.ts';
import type { PointReadOptions } from '../workloads/point-read.ts';

/** Reads of one row on one server: what does all of Lockstep cost where there is nothing to decide? */
export function pointReads(connections: number, isPrepared: boolean): Scenario {
  const name = `point-read/${connections}${isPrepared ? '-prepared' : ''}`;
  const row = (metric: string, rest: Pick<RowPlan, 'unit' | 'measure' | 'bar'>): RowPlan => ({
    metric: `${name}/${metric}`,
    ours: 'lockstep',
    peer: 'pg',
    ...rest,
    bar: isPrepared ? null : rest.bar,
  });
  return {
    name,
    roundShare: isPrepared ? 0.4 : 1,
    roundMs: 1_000,
    prepare: async (servers) => {
      const contestant = (pool: 'lockstep' | 'pg', title: string) => ({
        key: pool,
        name: title,
        workload: workloadUrl('point-read'),
        options: {
          target: { pool, hosts: [servers.leader], login: servers.login, connections },
          isPrepared,
        } satisfies PointReadOptions,
      });
      return {
        contestants: [contestant('lockstep', 'Lockstep'), contestant('pg', 'pg.Pool')],
        shared: servers.processes(0),
        rows: [
          row('throughput', { unit: 'reads/s', measure: operationsPerSecond, bar: { least: 0.97 } }),
          row('p99', { unit: 'ms', measure: p99Ms, bar: { most: 1.1 } }),
          row('p50', { unit: 'ms', measure: p50Ms, bar: null }),
        ],
      };
    },
  };
}
