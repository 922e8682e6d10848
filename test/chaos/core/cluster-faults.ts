import { draw } from '../../../src/testing/simulation/random.ts';

/** How often each fault is drawn. Names say what happens to whom. */
const WEIGHTS = {
  'cut-leader': 3,
  'cut-follower': 1,
  'split-leader': 3,
  'mute-leader': 2,
  'deaf-leader': 2,
  'kill-leader-host': 3,
  'kill-follower-host': 1,
  'kill-agent': 2,
  'kill-postmaster': 2,
  'kill-backend': 1,
  'stop-agent': 3,
  'stop-postgres': 2,
  'stop-leader-host': 3,
  'full-disk-leader': 2,
  'full-disk-follower': 1,
  'hung-disk-leader': 2,
  'hung-disk-follower': 1,
  'slow-disk-leader': 1,
  'clock-ahead-leader': 1,
  'clock-behind-leader': 1,
  'clock-ahead-follower': 1,
  switchover: 2,
  'switchover-then-kill': 2,
  'revoke-vote': 1,
  'revoke-vote-then-split': 2,
  'revoke-vote-then-kill': 2,
  'restart-agent': 2,
} as const;

export type ClusterFault = keyof typeof WEIGHTS;

export const CLUSTER_FAULTS: readonly ClusterFault[] = Object.keys(WEIGHTS) as ClusterFault[];

/** Another node should lead before these heal: nothing that leads is left, or it cannot write. */
const MUST_FAIL_OVER: ReadonlySet<ClusterFault> = new Set([
  'cut-leader',
  'split-leader',
  'mute-leader',
  'deaf-leader',
  'kill-leader-host',
  'kill-agent',
  'stop-agent',
  'stop-postgres',
  'stop-leader-host',
  'full-disk-leader',
  'hung-disk-leader',
]);

export interface PlannedRound {
  readonly fault: ClusterFault;
  /** A failover is waited for while the fault lasts. */
  readonly mustFailOver: boolean;
  /** How long the fault lasts; with `mustFailOver`, from the failover on. */
  readonly lastsMs: number;
  /** Which of the followers, for those that strike one: 0 to below 1, from the first to the last. */
  readonly follower: number;
}

/** The next round; the same random numbers give the same one. */
export function planRound(only: ClusterFault | null, random: () => number): PlannedRound {
  const drawn = draw(WEIGHTS, random());
  const fault = only ?? drawn;
  const mustFailOver = MUST_FAIL_OVER.has(fault);
  return {
    fault,
    mustFailOver,
    lastsMs: Math.round(mustFailOver ? random() * 2_000 : 1_500 + random() * 3_000),
    follower: random(),
  };
}
