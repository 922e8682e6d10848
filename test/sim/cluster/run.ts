import { createRandom } from '../../../src/testing/simulation/random.ts';
import { MUTANTS } from './mutants.ts';
import type { ClusterState } from '../../../src/leader-follower/core/cluster-state.ts';
import type { Violation } from './checker.ts';
import { VirtualTime } from '../../../src/testing/simulation/virtual-time.ts';
import { Faults } from './faults.ts';
import { startPolicyChanges } from './policy-changes.ts';
import type { MutantName } from './rules.ts';
import { Cluster } from './world.ts';

export interface RunResult {
  readonly seed: number;
  readonly violations: readonly Violation[];
  readonly steps: number;
  readonly hash: string;
  readonly acknowledged: number;
  readonly leaderships: number;
  readonly faults: number;
}

export interface RunOptions {
  readonly mutant?: MutantName | null;
  readonly transcript?: (line: string) => void;
  /** Without faults nobody may lose the leadership. */
  readonly isCalm?: boolean;
}

const FORMING_MS = 4_000;
const FOUNDING_MS = 14_000;
const CALM_MS = 1_000;
const FAULTY_MS = 9_000;
const HEALED_WITHIN_MS = 25_000;

/** One run under one seed: a cluster forms, is left alone, is broken again and again, and must recover. */
export function runCluster(seed: number, options: RunOptions = {}): RunResult {
  const random = createRandom(seed);
  const time = new VirtualTime();
  const dice = random();
  const nodes = dice < 0.66 ? 3 : dice < 0.9 ? 5 : dice < 0.97 ? 4 : 2;
  // Not by the dice: so that the runs without guests stay what they were.
  const guests = [0, 0, 0, 1, 2][seed % 5] ?? 0;
  const cluster = new Cluster({
    time,
    random,
    nodes: nodes + guests,
    guests,
    isLastDelayed: guests > 0 && seed % 2 === 0,
    required: nodes === 5 && random() < 0.5 ? 2 : 1,
    // Not by the dice either.
    handsOver: seed % 3 === 2,
    mutant: options.mutant ?? null,
    transcript: options.transcript ?? null,
  });
  const { checker } = cluster;
  checker.only = MUTANTS.find(({ name }) => name === options.mutant)?.only ?? null;
  const isBroken = (): boolean => checker.violations.length > 0;
  const isFounded = random() < 0.9;
  if (isFounded) cluster.installFormed();
  for (const agent of cluster.agents) agent.start();
  startClients(cluster);

  time.runUntil(isFounded ? FORMING_MS : FOUNDING_MS, () => isBroken() || isWhole(cluster));
  if (!isBroken() && !isWhole(cluster)) checker.report('progress', 'no whole cluster after the start');
  const calmLeaderships = checker.leaderships;
  time.runUntil(time.nowMs() + (options.isCalm === true ? 20_000 : CALM_MS), isBroken);
  if (!isBroken() && checker.leaderships !== calmLeaderships)
    checker.report('false-failover', 'the leadership moved though nothing was wrong');

  let faults = 0;
  if (options.isCalm !== true) {
    const untilMs = time.nowMs() + FAULTY_MS;
    const injected = new Faults(cluster, untilMs, seed % 4 === 3);
    if (seed % 3 === 1) startPolicyChanges(cluster, untilMs);
    time.runUntil(untilMs, isBroken);
    faults = injected.count;
    if (!isBroken()) {
      cluster.note(null, () => 'HEALED');
      injected.heal();
      awaitRecovery(cluster, isBroken);
    }
  }
  return {
    seed,
    violations: checker.violations,
    steps: time.steps,
    hash: (checker.hash >>> 0).toString(16).padStart(8, '0'),
    acknowledged: checker.acknowledgedSync,
    leaderships: checker.leaderships,
    faults,
  };
}

function awaitRecovery(cluster: Cluster, isBroken: () => boolean): void {
  const { time, checker } = cluster;
  const before = checker.acknowledgedSync;
  // Nobody may be in the middle of losing the leadership for what happened before.
  time.runUntil(time.nowMs() + 500, isBroken);
  const isRecovered = (): boolean => isWhole(cluster) && checker.acknowledgedSync > before;
  time.runUntil(time.nowMs() + HEALED_WITHIN_MS, () => isBroken() || isRecovered());
  if (isBroken() || isRecovered()) return;
  const picture = cluster.agents.map(
    ({ host, server }) =>
      `${host.name} ${server.mode} follows ${server.following ?? '-'} at ${server.log.length}`,
  );
  checker.report('progress', `not whole ${HEALED_WITHIN_MS} ms after all was healed: ${picture.join('; ')}`);
}

/** One leads by right, and every other streams from it and has what it had a moment ago. */
function isWhole(cluster: Cluster): boolean {
  const { state } = cluster.checker;
  if (state === null || state.sync.members.length === 0) return false;
  const leader = cluster.agents.find(({ host }) => host.name === state.leadership.holder);
  if (leader === undefined || !leader.server.isWritable || !leader.watchdog.mayWrite()) return false;
  if (state.sync.members.includes(leader.host.name) || !isByPolicy(cluster, state)) return false;
  return cluster.agents.every(
    ({ server }) =>
      server === leader.server ||
      (server.following === leader.host.name &&
        server.isReceiving &&
        server.log.length >= leader.server.flushed - 8),
  );
}

/** What is recorded is what people wanted. */
function isByPolicy(cluster: Cluster, { policy, sync, leadership }: ClusterState): boolean {
  if (policy === undefined) return true;
  const all = cluster.countedBy(cluster.agentOf(leadership.holder).host).length;
  return sync.isDegraded !== true && sync.required === (policy.followers === 'all' ? all : policy.followers);
}

/** Clients commit at whoever takes it: also at one that no longer should. */
function startClients(cluster: Cluster): void {
  const { time, random } = cluster;
  const meanMs = 20 + random() * 60;
  const next = (): void => {
    time.after(random() * 2 * meanMs, () => {
      for (const { host, server } of cluster.agents)
        if (!host.isDown && server.mode === 'leader')
          host.postgres.deliver(host.postgres.life, () => server.commit(random() < 0.7 ? 'sync' : 'async'));
      next();
    });
  };
  next();
}
