import { operationsPerSecond, p50Ms, p99Ms } from '../../row-plan.ts';
import { workloadUrl } from '../scenario.ts';
import type { Scenario } from '../scenario.ts';
import type { Target } from '../workloads/target.ts';

/** For information: another way to read on one server, with its throughput and latencies. */
function overhead(name: string, workload: string, connections: number): Scenario {
  return {
    name,
    roundShare: 0.4,
    roundMs: 1_000,
    prepare: async (servers) => {
      const contestant = (pool: Target['pool'], title: string) => ({
        key: pool,
        name: title,
        workload: workloadUrl(workload),
        options: { target: { pool, hosts: [servers.leader], login: servers.login, connections } },
      });
      const sides = { ours: 'lockstep', peer: 'pg', bar: null };
      return {
        contestants: [contestant('lockstep', 'Lockstep'), contestant('pg', 'pg.Pool')],
        shared: servers.processes(0),
        rows: [
          { ...sides, metric: `${name}/throughput`, unit: 'reads/s', measure: operationsPerSecond },
          { ...sides, metric: `${name}/p50`, unit: 'ms', measure: p50Ms },
          { ...sides, metric: `${name}/p99`, unit: 'ms', measure: p99Ms },
        ],
      };
    },
  };
}

/** `pool.connect()`, one query, `release()`. */
export const checkout: Scenario = overhead('checkout', 'checkout', 10);

/** `session.query` where the leader answers, one caller alone. */
export const sessionOnLeader: Scenario = overhead('session-on-leader', 'session-on-leader', 1);
