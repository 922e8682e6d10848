import type { SyncPolicy } from '../../../src/leader-follower/core/cluster-state.ts';
import type { Cluster } from './world.ts';

const LONGEST_GAP_MS = 4_000;
/** Whoever changes their mind so fast finds PostgreSQL between two settings. */
const SECOND_THOUGHT_MS = 200;
const LONGEST_THOUGHT_MS = 600;

/** People change what commits wait for, while all the rest goes on. */
export function startPolicyChanges(cluster: Cluster, untilMs: number): void {
  const { time, random } = cluster;
  const candidates = cluster.names.length - cluster.delayed.length - 1;
  const isOver = (): boolean => time.nowMs() >= untilMs;
  const next = (): (() => void) =>
    time.after(random() * LONGEST_GAP_MS, () => {
      if (isOver()) return;
      const followers = random() < 0.3 ? ('all' as const) : 1 + Math.floor(random() * candidates);
      const degradeAfterMs = random() < 0.6 ? 500 + Math.floor(random() * 1_500) : null;
      setPolicy(cluster, { followers, degradeAfterMs });
      const thoughtMs = SECOND_THOUGHT_MS + random() * (LONGEST_THOUGHT_MS - SECOND_THOUGHT_MS);
      if (random() < 0.4)
        time.after(thoughtMs, () => {
          if (!isOver()) setPolicy(cluster, { followers: 'all', degradeAfterMs });
        });
      next();
    });
  next();
}

/** Whoever leads, or believes so, is asked. */
function setPolicy(cluster: Cluster, policy: SyncPolicy): void {
  for (const agent of cluster.agents) {
    const { host, leadership } = agent;
    if (!host.agent.isRunning || leadership.ownLease.kind !== 'held') continue;
    cluster.note(host, () => `commits are to wait for ${policy.followers}, ${policy.degradeAfterMs} ms`);
    agent.requestPolicy(policy);
  }
}
