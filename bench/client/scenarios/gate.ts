import type { Round } from '../../contestant.ts';
import { operationsPerSecond } from '../../row-plan.ts';
import type { RowPlan } from '../../row-plan.ts';
import { workloadUrl } from '../scenario.ts';
import type { Scenario } from '../scenario.ts';
import type { GateOptions } from '../workloads/gate.ts';

const CONNECTIONS = 10;

const gatedPercent = ({ counters, operations }: Round): number =>
  (100 * (counters['gated'] ?? 0)) / operations;
const followerPercent = ({ counters, operations }: Round): number =>
  (100 * (counters['followerReads'] ?? 0)) / operations;

/**
 * What the check of a session's position costs on a follower that has caught up. Unprepared, the read is what
 * bare pg sends; the check itself is always prepared.
 */
export function gate(position: GateOptions['position'], isPrepared = true): Scenario {
  const name = `gate/${position}-position${isPrepared ? '' : '-unprepared'}`;
  return {
    name,
    roundShare: 1,
    roundMs: 1_000,
    prepare: async (servers) => {
      const [follower] = await servers.followers(1);
      if (follower === undefined) throw new Error('There is no follower.');
      const contestant = (isChecked: boolean) => ({
        key: isChecked ? 'checked' : 'unchecked',
        name: isChecked ? 'Lockstep session' : 'Lockstep, no check',
        workload: workloadUrl('gate'),
        options: {
          isChecked,
          position,
          target: {
            pool: 'lockstep',
            hosts: [servers.leader, follower],
            login: servers.login,
            connections: CONNECTIONS,
            ...(isPrepared ? {} : { prepareAfter: 0 }),
          },
        } satisfies GateOptions,
      });
      const info = (rest: Pick<RowPlan, 'metric' | 'measure'>): RowPlan => ({
        unit: '% of reads',
        ours: 'checked',
        peer: null,
        bar: null,
        ...rest,
      });
      return {
        contestants: [contestant(true), contestant(false)],
        shared: servers.processes(1),
        rows: [
          {
            metric: `${name}/throughput`,
            unit: 'reads/s',
            ours: 'checked',
            peer: 'unchecked',
            measure: operationsPerSecond,
            bar: { least: 0.96 },
          },
          info({ metric: `${name}/behind-a-gate`, measure: gatedPercent }),
          info({ metric: `${name}/on-the-follower`, measure: followerPercent }),
        ],
      };
    },
  };
}
