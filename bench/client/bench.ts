import { runContest } from '../contest.ts';
import { describeMachine } from '../machine.ts';
import type { BenchResult, Row } from '../result.ts';
import { judge } from '../row-plan.ts';
import type { Scenario } from './scenario.ts';
import { causalMix } from './scenarios/causal-mix.ts';
import { gate } from './scenarios/gate.ts';
import { checkout, sessionOnLeader } from './scenarios/overheads.ts';
import { pointReads } from './scenarios/point-reads.ts';
import { balancingProxies, proxies } from './scenarios/proxies.ts';
import { readScaling } from './scenarios/read-scaling.ts';
import { silentFollower } from './scenarios/silent-follower.ts';
import { transactions } from './scenarios/transactions.ts';
import { BenchServers } from './servers.ts';

const SCENARIOS: readonly Scenario[] = [
  pointReads(10, false),
  pointReads(20, false),
  pointReads(10, true),
  transactions,
  checkout,
  sessionOnLeader,
  ...proxies,
  // From here on followers take part, and stream on to the end.
  gate('known'),
  gate('new'),
  gate('new', false),
  causalMix,
  ...balancingProxies,
  silentFollower,
  readScaling,
];

export interface BenchOptions {
  /** Only rows whose metric starts so; null for all. */
  readonly only: string | null;
  /** Rounds of each contestant. */
  readonly runs: number;
  /** See `findPostgres`. */
  readonly postgres: string;
  readonly signal: AbortSignal;
  readonly progress: (line: string) => void;
}

/** The bars of the client, side by side with what they are compared to. Throws when `only` fits no metric. */
export async function runClientBench(options: BenchOptions): Promise<BenchResult> {
  const { only, progress } = options;
  const chosen = SCENARIOS.filter(({ name }) => only === null || fits(name, only));
  if (chosen.length === 0) {
    const names = SCENARIOS.map(({ name }) => name).join(', ');
    throw new Error(`No metric starts with "${only}"; they start with ${names}.`);
  }
  const when = new Date().toISOString();
  await using servers = await BenchServers.start(options.postgres);
  const machine = describeMachine(servers.version);
  progress(machine);
  const rows: Row[] = [];
  for (const scenario of chosen) {
    progress(`${scenario.name} …`);
    rows.push(...(await runScenario(scenario, servers, options)));
  }
  const wanted = rows.filter(({ metric }) => only === null || metric.startsWith(only));
  return { when, machine, rows: wanted };
}

function fits(name: string, prefix: string): boolean {
  return prefix.startsWith(`${name}/`) || name.startsWith(prefix);
}

async function runScenario(scenario: Scenario, servers: BenchServers, options: BenchOptions): Promise<Row[]> {
  await using resources = new AsyncDisposableStack();
  const { contestants, shared, rows } = await scenario.prepare(servers, resources);
  const performances = await runContest(contestants, shared, {
    rounds: Math.max(1, Math.ceil(options.runs * scenario.roundShare)),
    roundMs: scenario.roundMs,
    warmupMs: 1_200,
    signal: options.signal,
    progress: (line) => options.progress(`${scenario.name}: ${line}`),
  });
  return rows.map((row) => judge(row, performances));
}
