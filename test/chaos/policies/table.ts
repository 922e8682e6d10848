import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { signalProcessTree } from '../../../src/cli/dev/process-tree.ts';
import { startTestCluster } from '../../../src/testing/cluster.ts';
import type { TestCluster } from '../../../src/testing/cluster.ts';
import { until } from '../../integration/fixture.ts';
import { missing, onLeader, Writer } from '../../integration/numbered-writes.ts';

/** How long a fault lasts, and after how long a policy that degrades does so. */
export const FAULT_MS = 8_000;
export const DEGRADE_AFTER_MS = 2_000;
/** A degraded policy goes on within this, on a machine that others use too. */
const DEGRADED_WITHIN_MS = FAULT_MS - 1_000;
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

type FaultName = 'one hangs' | 'one dies' | 'one is paused whole' | 'both hang' | 'leader dies';
const FAULTS: readonly FaultName[] = [
  'one hangs',
  'one dies',
  'one is paused whole',
  'both hang',
  'leader dies',
];

export interface Cell {
  readonly policy: string;
  readonly fault: FaultName;
  /** The longest time without an acknowledged write, from the fault until all is whole again. */
  readonly pauseMs: number;
  readonly promise: 'goes on' | 'waits' | 'degrades' | 'fails over';
  readonly isDegraded: boolean;
  readonly isKept: boolean;
}

export interface PolicyResult {
  readonly cells: readonly Cell[];
  readonly acknowledged: number;
  readonly lost: number;
}

/** What the policy promises for the time of a fault. */
export function promiseOf({ level, followers, degradeAfterMs }: Policy, fault: FaultName): Cell['promise'] {
  if (fault === 'leader dies') return 'fails over';
  const isShort = fault === 'both hang' || followers === 'all';
  if (level === 'local' || !isShort) return 'goes on';
  return degradeAfterMs === null ? 'waits' : 'degrades';
}

/** Whether a measured pause is what was promised. */
export function isPromiseKept(promise: Cell['promise'], pauseMs: number, isDegraded: boolean): boolean {
  switch (promise) {
    case 'goes on':
      return pauseMs < DEGRADED_WITHIN_MS && !isDegraded;
    case 'waits':
      return pauseMs >= FAULT_MS - 1_000 && !isDegraded;
    case 'degrades':
      return pauseMs >= DEGRADE_AFTER_MS - 1_000 && pauseMs < DEGRADED_WITHIN_MS && isDegraded;
    case 'fails over':
      return !isDegraded;
    default:
      return promise satisfies never;
  }
}

/** Runs every fault under one policy, on a cluster of three of its own, with a writer all the while. */
export async function runPolicy(policy: Policy, tell: (line: string) => void): Promise<PolicyResult> {
  await using cluster = await startTestCluster();
  await onLeader(cluster, (client) => client.query('CREATE TABLE written (id int PRIMARY KEY)'));
  await cluster.setPolicy(policy);
  await untilStrict(cluster);
  const writer = new Writer(cluster, policy.level);
  writer.start();
  await until('writes flow', () => writer.acknowledged.length > 20, 30_000);
  const cells: Cell[] = [];
  for (const fault of FAULTS) {
    const from = writer.acknowledged.length - 1;
    const isDegraded = await breakAndMend(cluster, fault);
    await untilStrict(cluster);
    const now = writer.acknowledged.length;
    await until('writes flow again', () => writer.acknowledged.length > now + 10, 60_000);
    const times = writer.acknowledged.slice(from).map(({ atMs }) => atMs);
    const pauseMs = Math.round(
      Math.max(...times.slice(1).map((time, index) => time - (times[index] ?? time))),
    );
    const promise = promiseOf(policy, fault);
    const isKept = isPromiseKept(promise, pauseMs, isDegraded);
    cells.push({ policy: policy.name, fault, pauseMs, promise, isDegraded, isKept });
    tell(`${policy.name}: ${fault}: ${pauseMs} ms (${promise})${isKept ? '' : '  NOT AS PROMISED'}`);
  }
  await writer.stop();
  const lost = await missing(cluster, writer);
  return { cells, acknowledged: writer.acknowledged.length, lost: lost.length };
}

/** Every node is in place, and the policy is what commits go by. */
async function untilStrict(cluster: TestCluster): Promise<void> {
  await cluster.untilWhole(WHOLE_TIMEOUT_MS);
  await until(
    'the policy is gone by',
    async () => {
      const { syncPolicy, nodes, isFailoverReady } = await cluster.status();
      const sync = nodes.filter((node) => node.sync).length;
      return syncPolicy?.isDegraded === false && isFailoverReady && sync === 2;
    },
    WHOLE_TIMEOUT_MS,
  );
  const wanted = (await cluster.status()).syncPolicy?.followers === 'all' ? 'ANY 2' : 'ANY 1';
  await until(
    `PostgreSQL waits for ${wanted}`,
    async () => {
      const names = await onLeader(cluster, (client) =>
        client.query<{ names: string }>(`SELECT current_setting('synchronous_standby_names') AS names`),
      );
      return names.rows[0]?.names.startsWith(wanted) === true;
    },
    WHOLE_TIMEOUT_MS,
  );
}

/** Breaks, waits, and mends. Tells whether the policy degraded meanwhile. */
async function breakAndMend(cluster: TestCluster, fault: FaultName): Promise<boolean> {
  const leader = await cluster.leader();
  const followers = cluster.nodes.map(({ name }) => name).filter((name) => name !== leader);
  const [one = ''] = followers;
  const hung = fault === 'both hang' ? followers : [one];
  switch (fault) {
    case 'one hangs':
    case 'both hang': {
      for (const name of hung) await signalPostgres(cluster, name, 'SIGSTOP');
      const isDegraded = await watch(cluster);
      for (const name of hung) await signalPostgres(cluster, name, 'SIGCONT');
      return isDegraded;
    }
    case 'one dies': {
      await cluster.kill(one);
      const isDegraded = await watch(cluster);
      await cluster.start(one);
      return isDegraded;
    }
    case 'one is paused whole': {
      await cluster.pause(one);
      const isDegraded = await watch(cluster);
      await cluster.resume(one);
      return isDegraded;
    }
    case 'leader dies': {
      await cluster.kill(leader);
      const isDegraded = await watch(cluster);
      await cluster.start(leader);
      return isDegraded;
    }
    default:
      return fault satisfies never;
  }
}

async function watch(cluster: TestCluster): Promise<boolean> {
  const untilMs = performance.now() + FAULT_MS;
  let isDegraded = false;
  while (performance.now() < untilMs) {
    const topology = await cluster.status().catch(() => null);
    isDegraded ||= topology?.syncPolicy?.isDegraded === true;
    await delay(100);
  }
  return isDegraded;
}

async function signalPostgres(
  cluster: TestCluster,
  name: string,
  signal: 'SIGSTOP' | 'SIGCONT',
): Promise<void> {
  const folder = cluster.nodes.find((node) => node.name === name)?.folder ?? '';
  const pid = await readFile(join(folder, 'data', 'postmaster.pid'), 'utf8');
  await signalProcessTree(Number.parseInt(pid, 10), signal);
}
