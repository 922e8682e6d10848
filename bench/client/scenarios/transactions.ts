import { operationsPerSecond, p99Ms } from '../../row-plan.ts';
import type { RowPlan } from '../../row-plan.ts';
import { workloadUrl } from '../scenario.ts';
import type { Scenario } from '../scenario.ts';
import type { TransactionWorkloadOptions } from '../workloads/transaction.ts';

const CONNECTIONS = 10;

/** Four statements in a transaction, with a token and a durability level, against BEGIN and COMMIT by hand. */
export const transactions: Scenario = {
  name: 'transaction',
  roundShare: 1,
  roundMs: 1_000,
  prepare: async (servers) => {
    const contestant = (form: TransactionWorkloadOptions['form'], name: string) => ({
      key: form,
      name,
      workload: workloadUrl('transaction'),
      options: {
        form,
        target: {
          pool: form === 'plain' ? 'pg' : 'lockstep',
          hosts: [servers.leader],
          login: servers.login,
          connections: CONNECTIONS,
        },
      } satisfies TransactionWorkloadOptions,
    });
    const row = (ours: 'function' | 'batch', rest: Omit<RowPlan, 'ours' | 'peer'>): RowPlan => ({
      ...rest,
      metric: `transaction/${rest.metric}`,
      ours,
      peer: 'plain',
    });
    return {
      contestants: [
        contestant('function', 'Lockstep, function'),
        contestant('plain', 'pg.Pool'),
        contestant('batch', 'Lockstep, batch'),
      ],
      shared: servers.processes(0),
      rows: [
        row('function', {
          metric: 'function/throughput',
          unit: 'transactions/s',
          measure: operationsPerSecond,
          bar: { least: 1 },
        }),
        row('function', { metric: 'function/p99', unit: 'ms', measure: p99Ms, bar: null }),
        row('batch', {
          metric: 'batch/throughput',
          unit: 'transactions/s',
          measure: operationsPerSecond,
          bar: { least: 1.4 },
        }),
        row('batch', { metric: 'batch/p99', unit: 'ms', measure: p99Ms, bar: null }),
      ],
    };
  },
};
