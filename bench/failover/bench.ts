import { findPostgres } from '../../src/postgres/binaries.ts';
import { describeMachine } from '../machine.ts';
import type { BenchResult, Row } from '../result.ts';
import type { FailoverCluster } from './cluster.ts';
import { FAULTS } from './faults.ts';
import type { Fault } from './faults.ts';
import { HostNetwork } from './host-network.ts';
import { Load } from './load.ts';
import { LockstepCluster } from './lockstep-cluster.ts';
import { PatroniCluster } from './patroni-cluster.ts';
import { PATRONI_DEFAULTS, PATRONI_FASTEST } from './patroni-config.ts';
import { rowsOfFault, rowsOfSaturation } from './rows.ts';
import type { FaultRecord, PeerRecord } from './rows.ts';
import { runFault } from './run.ts';
import type { FailoverRun } from './run.ts';
import { runSaturation } from './saturation.ts';

export interface FailoverBenchOptions {
  /** Only rows whose metric starts so; null for all. */
  readonly only: string | null;
  /** Of each fault. */
  readonly runs: number;
  /** Of each fault that peers take part in, for each of their settings. 0: none. */
  readonly peerRuns: number;
  /** Of the saturation run. */
  readonly minutes: number;
  /** See `findPostgres`. */
  readonly postgres: string;
  readonly signal: AbortSignal;
  readonly progress: (line: string) => void;
}

const SATURATION = 'saturation';
/** A fault whose clusters break this often is given up. */
const BROKEN_LIMIT = 3;

/** Breaks clusters and measures when writes are acknowledged again. Throws when `only` fits no metric. */
export async function runFailoverBench(options: FailoverBenchOptions): Promise<BenchResult> {
  const { only, postgres, signal, progress } = options;
  const isChosen = (name: string): boolean =>
    only === null || only.startsWith(`${name}/`) || name.startsWith(only);
  const names = [...FAULTS.map(({ name }) => name), SATURATION];
  if (!names.some(isChosen))
    throw new Error(`No metric starts with "${only}"; they start with ${names.join(', ')}.`);
  const when = new Date().toISOString();
  const machine = describeMachine((await findPostgres(postgres)).version);
  progress(machine);
  const faults = FAULTS.filter(({ name }) => isChosen(name));
  const ours = await breakLockstep(faults, options);
  const peers = await breakPeers(
    faults.filter(({ timesFaster }) => timesFaster !== undefined),
    options,
  );
  const rows: Row[] = faults.flatMap((fault) =>
    rowsOfFault(fault, ours.get(fault.name) as FaultRecord, peers.get(fault.name) ?? []),
  );
  if (isChosen(SATURATION)) {
    const say = (line: string): void => progress(`${SATURATION}: ${line}`);
    rows.push(...rowsOfSaturation(await runSaturation({ ...options, signal, progress: say })));
  }
  return { when, machine, rows: rows.filter(({ metric }) => only === null || metric.startsWith(only)) };
}

async function breakLockstep(
  faults: readonly Fault[],
  options: FailoverBenchOptions,
): Promise<Map<string, FaultRecord>> {
  const { postgres, signal } = options;
  const records = new Map<string, FaultRecord>();
  for (const hasNetwork of [false, true]) {
    const fitting = faults.filter((fault) => (fault.hasNetwork ?? false) === hasNetwork);
    const missing = hasNetwork && fitting.length > 0 ? await HostNetwork.missing() : null;
    await using stage = new Stage('Lockstep', () => LockstepCluster.start({ postgres, hasNetwork, signal }));
    for (const fault of fitting)
      records.set(fault.name, await stage.record(fault, options.runs, missing, options));
  }
  return records;
}

async function breakPeers(
  faults: readonly Fault[],
  options: FailoverBenchOptions,
): Promise<Map<string, PeerRecord[]>> {
  const { postgres, signal, peerRuns } = options;
  const records = new Map<string, PeerRecord[]>(faults.map(({ name }) => [name, []]));
  if (faults.length === 0) return records;
  const missing = peerRuns === 0 ? '--peer-runs is 0.' : await PatroniCluster.missing(postgres);
  for (const pace of [PATRONI_DEFAULTS, PATRONI_FASTEST]) {
    await using stage = new Stage(pace.name, () => PatroniCluster.start(pace, postgres, signal));
    for (const fault of faults) {
      const record = await stage.record(fault, peerRuns, missing, options);
      const isJudged = pace === PATRONI_DEFAULTS;
      records.get(fault.name)?.push({ ...record, key: pace.key, isJudged });
    }
  }
  return records;
}

interface Scene {
  readonly cluster: FailoverCluster;
  readonly load: Load;
}

/** Runs faults one after the other on one cluster, and on a new one where a fault was too much for it. */
class Stage implements AsyncDisposable {
  readonly #name: string;
  readonly #start: () => Promise<FailoverCluster>;
  #scene: Scene | null = null;

  constructor(name: string, start: () => Promise<FailoverCluster>) {
    this.#name = name;
    this.#start = start;
  }

  async record(
    fault: Fault,
    count: number,
    missing: string | null,
    { signal, progress }: FailoverBenchOptions,
  ): Promise<FaultRecord> {
    const runs: FailoverRun[] = [];
    const broken: string[] = [];
    while (missing === null && runs.length + broken.length < count && broken.length < BROKEN_LIMIT) {
      signal.throwIfAborted();
      const label = `${fault.name}, ${this.#name}, run ${runs.length + broken.length + 1} of ${count}`;
      try {
        const scene = await this.#open();
        const run = await runFault(fault, scene.cluster, scene.load, signal);
        runs.push(run);
        progress(`${label}: ${renderRun(run)}`);
      } catch (error) {
        signal.throwIfAborted();
        broken.push((error as Error).message.split('\n', 1)[0] ?? '');
        const logs = await this.#scene?.cluster.logs();
        progress(`${label}: ${(error as Error).message}\n${logs ?? ''}`);
        await this.#close();
      }
    }
    return { name: this.#name, runs, missing, broken };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#close();
  }

  async #open(): Promise<Scene> {
    if (this.#scene !== null) return this.#scene;
    const cluster = await this.#start();
    try {
      const { leader } = await cluster.untilWhole();
      this.#scene = { cluster, load: await Load.start(cluster.nodes, leader, cluster.url) };
      return this.#scene;
    } catch (error) {
      await cluster[Symbol.asyncDispose]();
      throw error;
    }
  }

  async #close(): Promise<void> {
    const scene = this.#scene;
    this.#scene = null;
    if (scene === null) return;
    await scene.load[Symbol.asyncDispose]();
    await scene.cluster[Symbol.asyncDispose]();
  }
}

function renderRun(run: FailoverRun): string {
  const seconds = [`${run.plainSeconds.toFixed(3)} s`];
  if (run.lockstepSeconds !== null) seconds.push(`${run.lockstepSeconds.toFixed(3)} s by Lockstep's client`);
  const steps = Object.entries(run.steps).map(([kind, ms]) => `${kind} ${ms} ms`);
  const { sync, async: lost, windowMs } = run.loss;
  const loss = `lost ${sync} synchronous, ${lost} asynchronous (window ${Math.round(windowMs)} ms)`;
  const odd = [
    run.overlaps > 0 ? `${run.overlaps} OVERLAPPING ACKNOWLEDGEMENTS` : null,
    run.isStuck ? 'NOT EVERY CLIENT WRITES AGAIN' : null,
  ].filter((words) => words !== null);
  return [...odd, seconds.join(', '), ...(steps.length > 0 ? [steps.join(', ')] : []), loss].join('; ');
}
