import type { Round } from '../../contestant.ts';
import { workloadUrl } from '../scenario.ts';
import type { Scenario } from '../scenario.ts';
import type { SilentFollowerOptions } from '../workloads/silent-follower.ts';

const CALLERS = 4;
/** A copy needs a connection too, while those to the silent one are held. */
const CONNECTIONS = 20;
const HEDGE_AFTER_MS = 20;

const longestMs = ({ counters }: Round): number => counters['longestMs'] ?? Number.NaN;

/** What sending a late read to a second follower gives: one of two followers hangs in each round. */
export const silentFollower: Scenario = {
  name: 'silent-follower',
  roundShare: 0.4,
  roundMs: 4_000,
  prepare: async (servers) => {
    const hosts = [servers.leader, ...(await servers.followers(2))];
    const pid = servers.processes(1)[1]?.pid ?? 0;
    const contestant = (key: string, name: string, hedgeAfterMs?: number) => ({
      key,
      name,
      workload: workloadUrl('silent-follower'),
      options: {
        pid,
        callers: CALLERS,
        target: {
          pool: 'lockstep',
          hosts,
          login: servers.login,
          connections: CONNECTIONS,
          ...(hedgeAfterMs === undefined ? {} : { hedgeAfterMs }),
        },
      } satisfies SilentFollowerOptions,
    });
    return {
      contestants: [
        contestant('hedged', `Lockstep, hedged after ${HEDGE_AFTER_MS} ms`, HEDGE_AFTER_MS),
        contestant('plain', 'Lockstep'),
      ],
      shared: servers.processes(2),
      rows: [
        {
          metric: 'silent-follower/longest-read',
          unit: 'ms',
          ours: 'hedged',
          peer: 'plain',
          measure: longestMs,
          bar: { most: 0.5 },
        },
      ],
    };
  },
};
