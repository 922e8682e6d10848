import type { Round } from '../../contestant.ts';
import { CpuLimit } from '../../cpu-limit.ts';
import { operationsPerSecond } from '../../row-plan.ts';
import { workloadUrl } from '../scenario.ts';
import type { Scenario } from '../scenario.ts';
import { BenchServers } from '../servers.ts';
import type { ServedReadOptions } from '../workloads/served-read.ts';

const CALLERS = 24;
const FOLLOWERS = 4;
/** Of one core for each follower: the four and the client together fit into two cores. */
const CORES = 0.2;

const CPU_NOTE = `Each follower has ${CORES} of a core (a control group); a read sums 2000 rows.`;
const SERVICE_NOTE =
  'Modelled: control groups are not ours to make here, so a follower serves one read at a time, in 4 ms each.';

const followerPercent = ({ counters, operations }: Round): number =>
  (100 * (counters['followerReads'] ?? 0)) / operations;

/** Servers of their own: the limits go when these have ended. */
export const readScaling: Scenario = {
  name: 'read-scaling',
  roundShare: 0.4,
  roundMs: 1_500,
  prepare: async (shared, resources) => {
    const limits: CpuLimit[] = [];
    for (let index = 1; index <= FOLLOWERS; index += 1) {
      const limit = await CpuLimit.create(`lockstep-bench-${process.pid}-${index}`, CORES);
      if (limit !== null) limits.push(resources.use(limit));
    }
    const isLimited = limits.length === FOLLOWERS;
    const servers = resources.use(await BenchServers.start(shared.binDir));
    const followers = await servers.followers(FOLLOWERS);
    const processes = servers.processes(FOLLOWERS);
    if (isLimited) {
      for (const [index, limit] of limits.entries()) await limit.addTree(processes[index + 1]?.pid ?? 0);
    }
    const contestant = (count: number) => ({
      key: String(count),
      name: `Lockstep, ${count} follower${count === 1 ? '' : 's'}`,
      workload: workloadUrl('served-read'),
      options: {
        bound: isLimited ? 'cpu' : 'service-time',
        target: {
          pool: 'lockstep',
          hosts: [servers.leader, ...followers.slice(0, count)],
          login: servers.login,
          connections: CALLERS,
        },
      } satisfies ServedReadOptions,
    });
    const row = (count: number, least: number) => ({
      metric: `read-scaling/1-to-${count}`,
      unit: 'reads/s',
      ours: String(count),
      peer: '1',
      measure: operationsPerSecond,
      bar: { least },
      note: isLimited ? CPU_NOTE : SERVICE_NOTE,
    });
    return {
      contestants: [contestant(1), contestant(2), contestant(4)],
      shared: processes,
      rows: [
        row(2, 1.9),
        row(4, 3.6),
        {
          metric: 'read-scaling/on-followers',
          unit: '% of reads',
          ours: '1',
          peer: null,
          measure: followerPercent,
          bar: null,
          note: 'With one follower: the leader, which is not limited, must not be what scales.',
        },
      ],
    };
  },
};
