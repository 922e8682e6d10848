import type { SharedProcess } from '../contest.ts';
import type { ContestantPlan } from '../contestant.ts';
import type { RowPlan } from '../row-plan.ts';
import type { BenchServers } from './servers.ts';

/** A contest that is ready to run. */
export interface Contest {
  readonly contestants: readonly ContestantPlan[];
  readonly shared: readonly SharedProcess[];
  readonly rows: readonly RowPlan[];
}

/** One question of the bench, with all that answers it. */
export interface Scenario {
  /** What its metrics' names begin with. */
  readonly name: string;
  /** Share of the asked rounds: what is for information, or is steady, runs less often. */
  readonly roundShare: number;
  readonly roundMs: number;
  /** Starts what it needs besides the servers; `resources` ends that. */
  prepare(servers: BenchServers, resources: AsyncDisposableStack): Promise<Contest>;
}

/** The URL of a workload's module. */
export function workloadUrl(name: string): string {
  return new URL(`./workloads/${name}.ts`, import.meta.url).href;
}
