import { startTestCluster } from '../../src/testing/index.ts';
import type { TestCluster } from '../../src/testing/index.ts';
import { findPostgres } from '../../src/postgres/binaries.ts';
import { describeMachine } from '../machine.ts';
import { singleRow } from '../result.ts';
import type { BenchResult, Row } from '../result.ts';
import { median } from '../statistics.ts';
import { measureLag } from './lag.ts';
import { WriteLoad } from './write-load.ts';

const FOLLOWERS = 12;
const WINDOWS = 5;
const WINDOW_MS = 8_000;
const WARMUP_MS = 3_000;
const GIGABYTES = 2;
const LAG_SECONDS = 60;
const START_DEADLINE_MS = 180_000;
const WHOLE_DEADLINE_MS = 240_000;
/** Thirteen nodes and their writers on one machine: no leader is to fall because an agent waits for a processor. */
const PATIENCE = { leaseTtlMs: 10_000, supportMs: 5_000 } as const;

export interface FollowersBenchOptions {
  /** Only rows whose metric starts so; null for all. */
  readonly only: string | null;
  /** Divides sizes and times, to try it out; 1 in a full run. */
  readonly share: number;
  readonly postgres: string;
  readonly signal: AbortSignal;
  readonly progress: (line: string) => void;
}

type Measure = (cluster: TestCluster, options: FollowersBenchOptions) => Promise<readonly Row[]>;

const MEASURES: Readonly<Record<string, Measure>> = {
  cascade: measureCascade,
  adding: measureAdding,
  lag: measureVisibleLag,
};

/** What followers cost the leader, and how far they are behind. All nodes, and the load, share this machine. */
export async function runFollowersBench(options: FollowersBenchOptions): Promise<BenchResult> {
  const when = new Date().toISOString();
  const { version } = await findPostgres(options.postgres);
  const machine = describeMachine(version);
  const rows: Row[] = [];
  for (const [name, measure] of Object.entries(MEASURES)) {
    if (options.only !== null && !name.startsWith(options.only)) continue;
    options.signal.throwIfAborted();
    options.progress(`${name} …`);
    await using cluster = await startTestCluster({
      postgres: options.postgres,
      startDeadlineMs: START_DEADLINE_MS,
      ...PATIENCE,
    });
    rows.push(...(await measure(cluster, options)));
  }
  if (rows.length === 0)
    throw new Error(
      `No metric starts with "${options.only}"; they start with ${Object.keys(MEASURES).join(', ')}.`,
    );
  return { when, machine, rows };
}

/** The leader feeds two followers all the while; the others stream from those. */
async function measureCascade(
  cluster: TestCluster,
  { share, progress }: FollowersBenchOptions,
): Promise<readonly Row[]> {
  await using load = await WriteLoad.start(cluster, 8);
  const few = await windows(load, share);
  progress(`with 2 followers: ${few.map(Math.round).join(', ')} writes/s`);
  load.pause();
  const leader = await cluster.leader();
  const direct = cluster.nodes.map(({ name }) => name).filter((name) => name !== leader);
  for (let index = 4; index <= FOLLOWERS + 1; index += 1) {
    const from = direct[index % direct.length] ?? '';
    await cluster.addNode(`n${index}`, { from });
    // One after the other: ten agents that start at once keep the processors from all others.
    await cluster.untilWhole(WHOLE_DEADLINE_MS);
    progress(`n${index} is added`);
  }
  load.resume();
  const many = await windows(load, share);
  progress(`with ${FOLLOWERS} followers: ${many.map(Math.round).join(', ')} writes/s`);
  const [with12, with2] = [median(many), median(few)];
  return [
    singleRow({
      metric: 'cascade/throughput',
      unit: 'writes/s',
      value: with12,
      peer: with2,
      peerName: 'with 2 followers',
      ratio: with12 / with2,
      bar: { least: 0.7 },
      note: `${FOLLOWERS} followers, two of them fed by the leader, five by each of those`,
    }),
  ];
}

async function windows(load: WriteLoad, share: number): Promise<readonly number[]> {
  await load.count(WARMUP_MS * share);
  const rates: number[] = [];
  for (let window = 0; window < WINDOWS; window += 1) rates.push(await load.count(WINDOW_MS * share));
  return rates;
}

/** The copy is taken from a follower while the leader is written to. */
async function measureAdding(
  cluster: TestCluster,
  { share, progress }: FollowersBenchOptions,
): Promise<readonly Row[]> {
  await using load = await WriteLoad.start(cluster, 4);
  load.pause();
  const bytes = await load.fill(GIGABYTES * share * 2 ** 30);
  await cluster.untilWhole(WHOLE_DEADLINE_MS);
  progress(`${Math.round(bytes / 2 ** 20)} MB in the database`);
  load.resume();
  const before = await windows(load, share);
  progress(`before: ${before.map(Math.round).join(', ')} writes/s`);
  const leader = await cluster.leader();
  const from = cluster.nodes.find(({ name }) => name !== leader)?.name ?? '';
  const beganAtMs = performance.now();
  let isThere = false;
  const added = (async () => {
    await cluster.addNode('n4', { from });
    await untilFollows(cluster, 'n4');
    isThere = true;
  })();
  const during = await load.countUntil(() => isThere);
  await added;
  const seconds = (performance.now() - beganAtMs) / 1_000;
  progress(`during the ${seconds.toFixed(0)} s of the copy: ${Math.round(during)} writes/s`);
  const after = await windows(load, share);
  progress(`after: ${after.map(Math.round).join(', ')} writes/s`);
  const without = median(before);
  return [
    singleRow({
      metric: 'adding/throughput',
      unit: 'writes/s',
      value: during,
      peer: without,
      peerName: 'before',
      ratio: during / without,
      bar: { above: 0.9 },
      note: `a database of ${Math.round(bytes / 2 ** 20)} MB, copied from a follower in ${seconds.toFixed(0)} s; afterwards ${Math.round(median(after))} writes/s`,
    }),
  ];
}

async function untilFollows(cluster: TestCluster, name: string): Promise<void> {
  for (;;) {
    const topology = await cluster.status().catch(() => null);
    const node = topology?.nodes.find((candidate) => candidate.name === name);
    if (node?.role === 'follower' && node.state === 'running' && node.timeline === topology?.timeline) return;
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

async function measureVisibleLag(
  cluster: TestCluster,
  options: FollowersBenchOptions,
): Promise<readonly Row[]> {
  const lag = await measureLag(cluster, LAG_SECONDS * options.share, options.progress);
  return [
    singleRow({
      metric: 'lag/p99',
      unit: 'ms',
      value: lag.p99Ms,
      bar: { most: 50 },
      note: `median ${lag.p50Ms.toFixed(1)} ms, worst ${lag.worstMs.toFixed(0)} ms, of ${lag.count} reads; the sale made ${Math.round(lag.saleThroughput)} operations a second and the processors were ${Math.round(lag.busyShare * 100)} % busy`,
    }),
  ];
}
