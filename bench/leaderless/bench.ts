import { runContest } from '../contest.ts';
import type { Performance } from '../contest.ts';
import type { ContestantPlan } from '../contestant.ts';
import { describeMachine } from '../machine.ts';
import { ETCD as ETCD_PROGRAM } from '../peers/programs.ts';
import type { BenchResult, ProcessUse, Row } from '../result.ts';
import { judge } from '../row-plan.ts';
import { median } from '../statistics.ts';
import { BothStores } from './cluster.ts';
import type { WorkloadOptions } from './operations.ts';
import { SCENARIOS } from './scenarios.ts';
import type { Peer, Scenario } from './scenarios.ts';
import type { EtcdOptions } from './workloads/etcd.ts';

export interface LeaderlessBenchOptions {
  /** Only rows whose metric starts so; null for all. */
  readonly only: string | null;
  /** Rounds of each contestant. */
  readonly runs: number;
  /** See `findPostgres`. */
  readonly postgres: string;
  readonly signal: AbortSignal;
  readonly progress: (line: string) => void;
}

const ROUND_MS = 1_000;
const WARMUP_MS = 1_500;
const DOORS = ['grpc', 'gateway'] as const;

/** Quorum collections beside etcd, on the same machine in the same minutes. Throws when `only` fits no metric. */
export async function runLeaderlessBench(options: LeaderlessBenchOptions): Promise<BenchResult> {
  const { only, progress } = options;
  const chosen = SCENARIOS.filter(
    ({ name }) => only === null || only.startsWith(`${name}/`) || name.startsWith(only),
  );
  if (chosen.length === 0) {
    const names = SCENARIOS.map(({ name }) => name).join(', ');
    throw new Error(`No metric starts with "${only}"; they start with ${names}.`);
  }
  const when = new Date().toISOString();
  await using stores = await BothStores.start(options.postgres);
  const machine = describeMachine(stores.postgresVersion);
  progress(machine);
  const rows: Row[] = [];
  for (const scenario of chosen) {
    progress(`${scenario.name} …`);
    rows.push(...(await runScenario(scenario, stores, options)));
  }
  return { when, machine, rows: rows.filter(({ metric }) => only === null || metric.startsWith(only)) };
}

async function runScenario(
  scenario: Scenario,
  stores: BothStores,
  { runs, signal, progress }: LeaderlessBenchOptions,
): Promise<Row[]> {
  const performances = await runContest(contestantsOf(scenario, stores), stores.processes, {
    rounds: runs,
    roundMs: ROUND_MS,
    warmupMs: WARMUP_MS,
    signal,
    progress: (line) => progress(`${scenario.name}: ${line}`),
  });
  return scenario.rows.map((row) => {
    const peer = fasterOf(row.against, performances);
    const judged = judge(
      { ...row, metric: `${scenario.name}/${row.metric}`, ours: 'lockstep', peer },
      performances,
    );
    return { ...judged, note: judged.note ?? cpuNote(judged.processes) };
  });
}

function contestantsOf({ operation, callers, rows }: Scenario, stores: BothStores): ContestantPlan[] {
  const workload = (name: string): string => new URL(`./workloads/${name}.ts`, import.meta.url).href;
  const options: WorkloadOptions = { operation, callers, urls: stores.urls };
  const isWanted = (peer: Peer): boolean => rows.some(({ against }) => against === peer);
  const ofEtcd = (peer: Peer, isCombined: boolean): ContestantPlan[] =>
    DOORS.map((door) => ({
      key: `${peer}-${door}`,
      name: `etcd, ${door === 'grpc' ? 'gRPC' : 'JSON gateway'}${isCombined ? ', combined' : ''}`,
      workload: workload('etcd'),
      options: { ...options, urls: [stores.etcdLeader ?? ''], door, isCombined } satisfies EtcdOptions,
      ...(stores.etcdLeader === null
        ? {
            missing: `etcd is not installed; "npm run bench:peers" installs Debian's ${ETCD_PROGRAM.debianPackage}.`,
          }
        : {}),
    }));
  return [
    { key: 'lockstep', name: 'Lockstep', workload: workload('lockstep'), options },
    ...(isWanted('etcd') ? ofEtcd('etcd', false) : []),
    ...(isWanted('etcd-combined') ? ofEtcd('etcd-combined', true) : []),
    ...(isWanted('floor')
      ? [{ key: 'floor', name: 'upserts by hand', workload: workload('floor'), options }]
      : []),
  ];
}

/** The key of the peer's contestant; of etcd's two doors the one that did more. */
function fasterOf(peer: Peer, performances: ReadonlyMap<string, Performance>): string {
  if (peer === 'floor') return peer;
  const speedOf = (door: string): number => {
    const rounds = performances.get(`${peer}-${door}`)?.rounds ?? [];
    return rounds.length === 0 ? 0 : median(rounds.map((round) => round.operationsPerSecond));
  };
  const [first, second] = DOORS;
  return `${peer}-${speedOf(first) >= speedOf(second) ? first : second}`;
}

/** What an operation costs over all processes, on each side. */
function cpuNote(uses: readonly ProcessUse[]): string | null {
  const sides = new Map<string, number>();
  for (const { during, cpuMicrosPerOperation } of uses)
    sides.set(during, (sides.get(during) ?? 0) + cpuMicrosPerOperation);
  if (sides.size === 0) return null;
  const told = [...sides].map(([side, micros]) => `${side} ${Math.round(micros)} µs`);
  return `CPU time of all processes for one operation: ${told.join(', ')}`;
}
