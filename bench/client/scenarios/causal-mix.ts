import type { Round } from '../../contestant.ts';
import { operationsPerSecond, p99Ms } from '../../row-plan.ts';
import { workloadUrl } from '../scenario.ts';
import type { Scenario } from '../scenario.ts';
import type { CausalMixOptions } from '../workloads/causal-mix.ts';

const WORKERS = 8;
const FOLLOWERS = 2;

const staleReads = ({ counters }: Round): number => counters['staleReads'] ?? Number.NaN;
const stalePercent = (round: Round): number => (100 * staleReads(round)) / (round.counters['reads'] ?? 0);
const followerPercent = ({ counters }: Round): number =>
  (100 * (counters['followerReads'] ?? 0)) / (counters['reads'] ?? 0);

/** A write, then four reads of it, with two asynchronous followers. */
export const causalMix: Scenario = {
  name: 'causal-mix',
  roundShare: 1,
  roundMs: 1_200,
  prepare: async (servers) => {
    const followers = await servers.followers(FOLLOWERS);
    const contestant = (way: CausalMixOptions['way'], name: string) => ({
      key: way,
      name,
      workload: workloadUrl('causal-mix'),
      options: {
        way,
        mark: way,
        target: {
          pool: way === 'session' || way === 'pool' ? 'lockstep' : 'pg',
          hosts: [servers.leader, ...followers],
          login: servers.login,
          connections: WORKERS,
        },
      } satisfies CausalMixOptions,
    });
    const throughput = { unit: 'loops/s', ours: 'session', measure: operationsPerSecond };
    const own = { ours: 'session', peer: null };
    return {
      contestants: [
        contestant('session', 'Lockstep session'),
        contestant('pool', 'Lockstep pool'),
        contestant('blind', 'pg.Pool, blind reads'),
        contestant('ask', 'pg.Pool, asks the LSN'),
      ],
      shared: servers.processes(FOLLOWERS),
      rows: [
        {
          ...own,
          metric: 'causal-mix/stale-reads',
          unit: 'reads in all rounds',
          measure: staleReads,
          combine: 'sum',
          bar: { most: 0 },
        },
        {
          ...own,
          metric: 'causal-mix/follower-share',
          unit: '% of reads',
          measure: followerPercent,
          bar: { least: 85 },
        },
        {
          ...own,
          ours: 'pool',
          metric: 'causal-mix/pool-stale-reads',
          unit: 'reads in all rounds',
          measure: staleReads,
          combine: 'sum',
          bar: { most: 0 },
        },
        {
          ...own,
          ours: 'pool',
          metric: 'causal-mix/pool-follower-share',
          unit: '% of reads',
          measure: followerPercent,
          bar: { least: 85 },
        },
        {
          ...throughput,
          ours: 'pool',
          metric: 'causal-mix/pool-against-blind',
          peer: 'blind',
          bar: { least: 0.75 },
        },
        { ...throughput, metric: 'causal-mix/against-blind', peer: 'blind', bar: { least: 0.9 } },
        { ...throughput, metric: 'causal-mix/against-asking', peer: 'ask', bar: { least: 1.4 } },
        {
          metric: 'causal-mix/p99',
          unit: 'ms a loop',
          ours: 'session',
          peer: 'blind',
          measure: p99Ms,
          bar: null,
        },
        {
          metric: 'causal-mix/stale-reads-when-blind',
          unit: '% of reads',
          ours: 'blind',
          peer: null,
          measure: stalePercent,
          bar: null,
          note: 'The peer\u2019s stale reads, for information.',
        },
      ],
    };
  },
};
