import { setTimeout as delay } from 'node:timers/promises';
import { until } from '../../integration/fixture.ts';
import { missing, onLeader, Writer } from '../../integration/numbered-writes.ts';
import { HostCluster } from '../hosts/cluster.ts';

/** How long a fault lasts, and after how long a policy that degrades does so. */
export const FAULT_MS = 12_000;
export const DEGRADE_AFTER_MS = 2_000;
/** A pause that ends by itself is over within this, on a machine that others use too. */
const ENDS_WITHIN_MS = FAULT_MS - 1_000;
const WHOLE_TIMEOUT_MS = 180_000;

export interface Policy {
  readonly name: string;
  readonly followers: number | 'all';
  readonly degradeAfterMs: number | null;
  /** What the app's commits ask for. */
  readonly level: 'local' | 'on';
}

export const POLICIES: readonly Policy[] = [
  { name: 'async', followers: 1, degradeAfterMs: null, level: 'local' },
  { name: 'semi-sync 1, strict', followers: 1, degradeAfterMs: null, level: 'on' },
  { name: 'semi-sync 1, degrade', followers: 1, degradeAfterMs: DEGRADE_AFTER_MS, level: 'on' },
  { name: 'sync, strict', followers: 'all', degradeAfterMs: null, level: 'on' },
  { name: 'sync, degrade', followers: 'all', degradeAfterMs: DEGRADE_AFTER_MS, level: 'on' },
];

const FAULTS = ['one hangs', 'one dies', 'one is cut off', 'both hang', 'leader dies'] as const;
type FaultName = (typeof FAULTS)[number];

export interface Cell {
  readonly policy: string;
  readonly fault: FaultName;
  /** The longest time without an acknowledged write, from the fault until all is whole again. */
  readonly pauseMs: number;
  readonly promise: 'goes on' | 'waits' | 'degrades' | 'fails over';
  readonly isDegraded: boolean;
  /** Acknowledged since the fault before, and not there any more. */
  readonly lost: number;
  readonly isKept: boolean;
}

/** What the policy promises for the time of a fault. */
export function promiseOf({ level, followers, degradeAfterMs }: Policy, fault: FaultName): Cell['promise'] {
  // By "all" a new leader waits for the one that died, too.
  if (fault === 'leader dies' && (level === 'local' || followers !== 'all')) return 'fails over';
  const isShort = fault === 'both hang' || followers === 'all';
  if (level === 'local' || !isShort) return 'goes on';
  return degradeAfterMs === null ? 'waits' : 'degrades';
}

/** Whether a measured pause is what was promised. */
export function isPromiseKept({ promise, pauseMs, isDegraded }: Omit<Cell, 'isKept'>): boolean {
  switch (promise) {
    case 'goes on':
    case 'fails over':
      return pauseMs < ENDS_WITHIN_MS && !isDegraded;
    case 'waits':
      return pauseMs >= ENDS_WITHIN_MS && !isDegraded;
    case 'degrades':
      return pauseMs >= DEGRADE_AFTER_MS / 2 && pauseMs < ENDS_WITHIN_MS && isDegraded;
    default:
      return promise satisfies never;
  }
}

/** Runs every fault under one policy, on a cluster of three hosts of its own, with a writer all the while. */
export async function runPolicy(
  policy: Policy,
  tell: (line: string) => void,
  stop: AbortSignal,
): Promise<readonly Cell[]> {
  await using cluster = await HostCluster.start({ hasAllKinds: false, onProgress: tell, stop });
  const target = {
    status: () => cluster.status(),
    leader: () => leaderOf(cluster),
    nodes: cluster.hosts.map(({ name }) => ({ name, dsn: cluster.dsn(name) })),
  };
  await onLeader(target, (client) => client.query('CREATE TABLE written (id int PRIMARY KEY)'));
  const { followers, degradeAfterMs } = policy;
  // The first leader of a busy machine may be lost as soon as it leads.
  await until('the policy is set', async () => {
    const refusal = await cluster.setPolicy(await leaderOf(cluster), { followers, degradeAfterMs });
    if (refusal !== null) throw new Error(refusal);
    return true;
  });
  await untilByPolicy(cluster, policy);
  const writer = new Writer(target, policy.level);
  writer.start();
  try {
    await until('writes flow', () => writer.acknowledged.length > 20, 60_000);
    const cells: Cell[] = [];
    let lost = 0;
    for (const fault of FAULTS) {
      const from = writer.acknowledged.length - 1;
      const isDegraded = await breakAndMend(cluster, fault);
      await untilByPolicy(cluster, policy);
      const now = writer.acknowledged.length;
      await until('writes flow again', () => writer.acknowledged.length > now + 10, 60_000);
      const pauseMs = Math.round(longestGapMs(writer.acknowledged.slice(from)));
      const before = lost;
      // Its connection may be cut on a machine that has no time for the leader.
      lost = (await until('rows are read', () => missing(target, writer))).length;
      const cell = {
        policy: policy.name,
        fault,
        pauseMs,
        promise: promiseOf(policy, fault),
        isDegraded,
        lost: lost - before,
      };
      const isKept = isPromiseKept(cell) && (policy.level === 'local' || cell.lost === 0);
      cells.push({ ...cell, isKept });
      tell(`${policy.name}: ${fault}: ${pauseMs} ms, ${cell.lost} lost${isKept ? '' : '  NOT AS PROMISED'}`);
    }
    return cells;
  } finally {
    await writer.stop();
  }
}

function longestGapMs(writes: readonly { readonly atMs: number }[]): number {
  return Math.max(...writes.slice(1).map(({ atMs }, index) => atMs - (writes[index]?.atMs ?? atMs)));
}

async function leaderOf(cluster: HostCluster): Promise<string> {
  let found: string | null = null;
  await until('somebody leads', async () => (found = (await cluster.status()).leader) !== null, 60_000);
  return found ?? '';
}

/** Every node is in place, and what commits wait for is what the policy says. */
async function untilByPolicy(cluster: HostCluster, { followers }: Policy): Promise<void> {
  await cluster.untilWhole(WHOLE_TIMEOUT_MS);
  const wanted = followers === 'all' ? 2 : followers;
  await until(
    'the policy is gone by',
    async () => {
      const { syncPolicy, nodes, isFailoverReady } = await cluster.status();
      const isReached = syncPolicy?.isDegraded === false && syncPolicy.confirmedBy === wanted;
      return isReached && isFailoverReady && nodes.filter(({ sync }) => sync).length === 2;
    },
    WHOLE_TIMEOUT_MS,
  );
}

/** Breaks, waits, and mends. Tells whether the policy degraded meanwhile. */
async function breakAndMend(cluster: HostCluster, fault: FaultName): Promise<boolean> {
  const leader = cluster.host(await leaderOf(cluster));
  const followers = cluster.hosts.filter((host) => host !== leader);
  const [one = leader] = followers;
  switch (fault) {
    case 'one hangs':
    case 'both hang': {
      const hung = fault === 'both hang' ? followers : [one];
      for (const host of hung) await host.signal('postgres', 'SIGSTOP');
      const isDegraded = await watch(cluster);
      for (const host of hung) await host.signal('postgres', 'SIGCONT');
      return isDegraded;
    }
    case 'one is cut off': {
      await cluster.network.unplug(one.name);
      const isDegraded = await watch(cluster);
      await cluster.network.plugIn(one.name);
      return isDegraded;
    }
    case 'one dies':
    case 'leader dies': {
      const dead = fault === 'one dies' ? one : leader;
      await dead.kill();
      const isDegraded = await watch(cluster);
      await dead.start();
      return isDegraded;
    }
    default:
      return fault satisfies never;
  }
}

async function watch(cluster: HostCluster): Promise<boolean> {
  const untilMs = performance.now() + FAULT_MS;
  let isDegraded = false;
  while (performance.now() < untilMs) {
    const topology = await cluster.status().catch(() => null);
    isDegraded ||= topology?.syncPolicy?.isDegraded === true;
    await delay(100);
  }
  return isDegraded;
}
