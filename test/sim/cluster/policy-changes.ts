import type { Cluster } from './world.ts';

const LONGEST_GAP_MS = 4_000;

/** People change what commits wait for, while all the rest goes on. */
export function startPolicyChanges(cluster: Cluster, untilMs: number): void {
  const { time, random, agents } = cluster;
  const candidates = cluster.names.length - cluster.delayed.length - 1;
  const next = (): (() => void) =>
    time.after(random() * LONGEST_GAP_MS, () => {
      if (time.nowMs() >= untilMs) return;
      const count = 1 + Math.floor(random() * candidates);
      const policy = {
        followers: random() < 0.3 ? ('all' as const) : count,
        degradeAfterMs: random() < 0.6 ? 500 + Math.floor(random() * 1_500) : null,
      };
      for (const { host, leadership } of agents) {
        if (!host.agent.isRunning || leadership.ownLease.kind !== 'held') continue;
        cluster.note(host, () => `commits are to wait for ${policy.followers}, ${policy.degradeAfterMs} ms`);
        leadership.update(
          (state) => ({ ...state, policy }),
          () => undefined,
        );
      }
      next();
    });
  next();
}
