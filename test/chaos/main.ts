import { parseArgs } from 'node:util';
import { runClientFailover } from './client-failover.ts';
import { runClusterChaos } from './cluster-chaos.ts';
import { CLUSTER_FAULTS } from './core/cluster-faults.ts';
import type { ClusterFault } from './core/cluster-faults.ts';
import { renderClientResult, renderClusterResult } from './render.ts';

const USAGE = `Usage: npm run chaos -- [options]

Breaks a real cluster of three nodes again and again under load, and checks what callers were told.

  --rounds n       faults to inject (default 20; 3 with a named fault)
  --scenario name  cluster (default): hosts in network namespaces, any fault; needs root
                   client: Lockstep's client, without root
                   or one fault of the cluster scenario:
${wrap(CLUSTER_FAULTS, 60)
  .map((line) => `                   ${line}`)
  .join('\n')}
  --kinds          the cluster scenario with a delayed and a cascading node besides the three; they are struck too
  --seed s         draws the same faults and load again (default: by the clock, printed)
  --json           one JSON document on standard output
  --help

Exit code: 0 when every promise held, 1 when one was broken, 2 when the run could not be held, 130 when it was stopped.
`;

/** Words in lines of about `width`. */
function wrap(words: readonly string[], width: number): string[] {
  return words.reduce<string[]>((lines, word) => {
    const last = lines.at(-1);
    if (last === undefined || last.length + word.length > width) return [...lines, word];
    return [...lines.slice(0, -1), `${last}, ${word}`];
  }, []);
}

interface RunOptions {
  readonly scenario: string;
  readonly rounds: number;
  readonly seed: number;
  readonly isJson: boolean;
  readonly hasAllKinds: boolean;
}

function parseCount(name: string, text: string): number {
  const value = Number(text);
  if (Number.isSafeInteger(value) && value >= 0) return value;
  throw new TypeError(`--${name} is "${text}"; expected a whole number.`);
}

function tell(line: string): void {
  process.stderr.write(`${line}\n`);
}

async function runClient({ rounds, seed, isJson }: RunOptions): Promise<number> {
  let isStopped = false;
  process.once('SIGINT', () => {
    isStopped = true;
    tell('Stopping after this round.');
  });
  tell(`Seed ${seed}. Starting a cluster of three.`);
  const result = await runClientFailover({ rounds, seed, onProgress: tell, isStopped: () => isStopped });
  process.stdout.write(isJson ? `${JSON.stringify(result)}\n` : renderClientResult(result));
  return result.violations.length === 0 ? 0 : 1;
}

async function runCluster({ scenario, rounds, seed, isJson, hasAllKinds }: RunOptions): Promise<number> {
  if (process.platform !== 'linux' || process.getuid?.() !== 0) {
    tell('not run: needs root, on Linux, for network namespaces and mounts. Without it: --scenario client');
    return 2;
  }
  const stop = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    // Each time: a second Ctrl-C must not leave namespaces and mounts behind.
    process.on(signal, () => {
      if (!stop.signal.aborted) tell('Stopping, and cleaning up.');
      stop.abort();
    });
  }
  const faults = scenario === 'cluster' ? [] : [scenario as ClusterFault];
  tell(`Seed ${seed}. Starting a cluster of ${hasAllKinds ? 'five' : 'three'} hosts.`);
  try {
    const result = await runClusterChaos({
      rounds,
      seed,
      faults,
      hasAllKinds,
      onProgress: tell,
      stop: stop.signal,
    });
    process.stdout.write(isJson ? `${JSON.stringify(result)}\n` : renderClusterResult(result));
    if (result.violations.length > 0) return 1;
    return result.rounds < rounds ? 2 : 0;
  } catch (error) {
    if (!stop.signal.aborted) throw error;
    return 130;
  }
}

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      rounds: { type: 'string' },
      scenario: { type: 'string', default: 'cluster' },
      seed: { type: 'string', default: String(Date.now() % 1_000_000) },
      json: { type: 'boolean', default: false },
      kinds: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) {
    process.stdout.write(USAGE);
    return 0;
  }
  const { scenario } = values;
  const known: readonly string[] = ['cluster', 'client', ...CLUSTER_FAULTS];
  if (!known.includes(scenario))
    throw new TypeError(`--scenario is "${scenario}"; known are ${known.join(', ')}.`);
  const isGeneral = scenario === 'cluster' || scenario === 'client';
  const options: RunOptions = {
    scenario,
    rounds: parseCount('rounds', values.rounds ?? (isGeneral ? '20' : '3')),
    seed: parseCount('seed', values.seed),
    isJson: values.json,
    hasAllKinds: values.kinds,
  };
  return scenario === 'client' ? runClient(options) : runCluster(options);
}

try {
  process.exitCode = await main();
} catch (error) {
  tell(error instanceof TypeError ? error.message : String((error as Error).stack));
  process.exitCode = 2;
}
