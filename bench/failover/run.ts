import { setTimeout as delay } from 'node:timers/promises';
import { readCpuMs, readMemoryMb } from '../process-usage.ts';
import { countOverlaps, longestPauseSeconds, measureLoss, secondsToFirstWrite } from './acknowledgement.ts';
import type { Loss, Strike, Writer } from './acknowledgement.ts';
import { nowMs } from './cluster.ts';
import type { FailoverCluster, LoggedEvent } from './cluster.ts';
import type { Fault } from './faults.ts';
import type { Load } from './load.ts';

/** What processes of one name used while nothing was broken. */
export interface GroupUse {
  readonly name: string;
  readonly cpuMs: number;
  readonly elapsedMs: number;
  readonly writes: number;
  readonly memoryMb: number | null;
}

/** One fault, from a whole cluster to a whole cluster. */
export interface FailoverRun {
  readonly plainSeconds: number;
  /** Null without Lockstep's client. */
  readonly lockstepSeconds: number | null;
  readonly loss: Loss;
  readonly overlaps: number;
  /** How often the leadership was given anew, also to the same node. */
  readonly reigns: number;
  /** Whether writes never came back while they were waited for. */
  readonly isStuck: boolean;
  /** Milliseconds from the fault, by what happened then; the first of each. */
  readonly steps: Readonly<Record<string, number>>;
  readonly uses: readonly GroupUse[];
}

const STEADY_MS = 1_000;
const STEADY_PATIENCE_MS = 30_000;
const STEADY_WRITES = 20;
const BREAKDOWN_KINDS = ['stopped', 'leader-lost', 'fenced', 'switchover', 'elected', 'promoted'];

/** Breaks the leader once and looks what clients saw. Throws when the cluster does not become whole again. */
export async function runFault(
  fault: Fault,
  cluster: FailoverCluster,
  load: Load,
  signal: AbortSignal,
): Promise<FailoverRun> {
  const before = await cluster.untilWhole();
  load.forget();
  const uses = await watchSteady(cluster, before.leader, load, signal);
  const strike = await fault.strike(cluster, before.leader);
  const isStuck = !(await watchRecovery(fault, cluster, load, strike, signal));
  const untilMs = nowMs();
  await fault.heal(cluster, before.leader);
  const after = await cluster.untilWhole();
  const acknowledged = [...load.acknowledged];
  const found = await load.findWritten(after.leader);
  const measure = (writer: Writer): number =>
    fault.measure === 'pause'
      ? longestPauseSeconds(acknowledged, writer, strike, untilMs)
      : (secondsToFirstWrite(acknowledged, writer, strike) ?? cluster.recoveryPatienceMs / 1_000);
  const firstDirect = acknowledged
    .filter(({ writer, node }) => writer === 'direct' && node !== before.leader)
    .map(({ committedAtMs }) => committedAtMs ?? Number.POSITIVE_INFINITY);
  return {
    plainSeconds: measure('plain'),
    lockstepSeconds: load.writers.includes('lockstep') ? measure('lockstep') : null,
    loss: measureLoss(acknowledged, found, strike, cluster.url !== null),
    overlaps: countOverlaps(acknowledged, before.leader),
    reigns: after.term - before.term,
    isStuck,
    steps: listSteps(await cluster.eventsSince(strike.atMs), strike, firstDirect),
    uses,
  };
}

/** Waits until all write, then measures for a second what the processes use. */
async function watchSteady(
  cluster: FailoverCluster,
  leader: string,
  load: Load,
  signal: AbortSignal,
): Promise<GroupUse[]> {
  const count = (writer: Writer): number => load.acknowledged.filter((one) => one.writer === writer).length;
  const deadlineMs = performance.now() + STEADY_PATIENCE_MS;
  while (load.writers.some((writer) => count(writer) < STEADY_WRITES)) {
    if (performance.now() > deadlineMs) throw new Error(`Not every client writes to ${cluster.name}.`);
    await delay(20, undefined, { signal });
  }
  const groups = await cluster.processGroups(leader);
  const cpuBefore = groups.map(({ pids }) => readCpuMs(pids));
  const writesBefore = load.acknowledged.length;
  const startedAtMs = performance.now();
  await delay(STEADY_MS, undefined, { signal });
  const elapsedMs = performance.now() - startedAtMs;
  const writes = load.acknowledged.length - writesBefore;
  return groups.map(({ name, pids }, index) => ({
    name,
    cpuMs: readCpuMs(pids) - (cpuBefore[index] ?? 0),
    elapsedMs,
    writes,
    memoryMb: readMemoryMb(pids),
  }));
}

/** Resolves with false when some client has not written again in time. */
async function watchRecovery(
  fault: Fault,
  cluster: FailoverCluster,
  load: Load,
  strike: Strike,
  signal: AbortSignal,
): Promise<boolean> {
  const watchedAtMs = strike.doneAtMs + fault.watchMs;
  const givenUpAtMs = strike.doneAtMs + cluster.recoveryPatienceMs;
  const hasWritten = (writer: Writer): boolean =>
    secondsToFirstWrite(load.acknowledged, writer, strike) !== null;
  const writers = load.writers.filter((writer) => writer !== 'direct');
  for (;;) {
    const isBack = writers.every(hasWritten);
    if (isBack && nowMs() >= watchedAtMs) return true;
    if (nowMs() >= givenUpAtMs) return isBack;
    await delay(20, undefined, { signal });
  }
}

function listSteps(
  events: readonly LoggedEvent[],
  strike: Strike,
  firstDirect: readonly number[],
): Record<string, number> {
  const steps: Record<string, number> = {};
  for (const kind of BREAKDOWN_KINDS) {
    const times = events.filter((event) => event.kind === kind).map(({ atMs }) => atMs);
    if (times.length > 0) steps[kind] = Math.round(Math.min(...times) - strike.atMs);
  }
  const first = firstDirect.reduce((least, at) => Math.min(least, at), Number.POSITIVE_INFINITY);
  if (Number.isFinite(first)) steps['first write at a new leader'] = Math.round(first - strike.atMs);
  return steps;
}
