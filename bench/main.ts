// `npm run bench -- <capability>`: prints a table, or one JSON document with --json; progress goes to stderr.
import { Command, InvalidArgumentError } from 'commander';
import { runApplyBench } from './apply/bench.ts';
import { runClientBench } from './client/bench.ts';
import { runFollowBench } from './follow/bench.ts';
import { runFollowersBench } from './followers/bench.ts';
import { runFailoverBench } from './failover/bench.ts';
import { keepResult } from './kept-result.ts';
import { runLeaderlessBench } from './leaderless/bench.ts';
import { runMultiLeaderBench } from './multi-leader/bench.ts';
import { renderTable } from './result.ts';
import type { BenchResult } from './result.ts';

interface Flags {
  readonly transactions: number;
  readonly json?: true;
  readonly only?: string;
  readonly keep?: true;
  readonly runs?: number;
  readonly peerRuns: number;
  readonly minutes: number;
  readonly postgres: string;
  readonly share: number;
}

/** With at least so much a run is a full one, which is kept. */
interface FullRun {
  readonly runs: number;
  readonly peerRuns: number;
  readonly minutes: number;
  readonly transactions: number;
}

const CAPABILITIES = {
  apply: { runs: 3, peerRuns: 0, minutes: 0, transactions: 300_000 },
  client: { runs: 15, peerRuns: 0, minutes: 0, transactions: 0 },
  failover: { runs: 20, peerRuns: 3, minutes: 30, transactions: 0 },
  follow: { runs: 1, peerRuns: 0, minutes: 0, transactions: 0 },
  followers: { runs: 1, peerRuns: 0, minutes: 0, transactions: 0 },
  leaderless: { runs: 10, peerRuns: 0, minutes: 0, transactions: 0 },
  'multi-leader': { runs: 5, peerRuns: 0, minutes: 0, transactions: 0 },
} as const satisfies Readonly<Record<string, FullRun>>;

type Capability = keyof typeof CAPABILITIES;

function isCapability(name: string): name is Capability {
  return Object.hasOwn(CAPABILITIES, name);
}

function parseCount(least: number): (text: string) => number {
  return (text) => {
    const count = Number(text);
    if (Number.isInteger(count) && count >= least) return count;
    throw new InvalidArgumentError(`expected a whole number from ${least}.`);
  };
}

function parseShare(text: string): number {
  const share = Number(text);
  if (share > 0 && share <= 1) return share;
  throw new InvalidArgumentError('expected more than 0, up to 1.');
}

function print(result: BenchResult, isJson: boolean): void {
  if (isJson) {
    process.stdout.write(`${JSON.stringify(result, null, 2)}\n`);
    return;
  }
  const notes = result.rows.flatMap(({ metric, note }) => (note === null ? [] : [`${metric}: ${note}`]));
  process.stdout.write([result.machine, renderTable(result.rows), ...notes, ''].join('\n'));
}

async function measure(capability: Capability, runs: number, flags: Flags): Promise<BenchResult> {
  const interrupt = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
    process.on(signal, () => interrupt.abort(new Error(`${signal} ended the bench.`)));
  const options = {
    only: flags.only ?? null,
    runs,
    postgres: flags.postgres,
    signal: interrupt.signal,
    progress: (line: string) => void process.stderr.write(`${line}\n`),
  };
  if (capability === 'apply') return runApplyBench({ ...options, transactions: flags.transactions });
  if (capability === 'follow') return runFollowBench({ ...options, share: flags.share });
  if (capability === 'followers') return runFollowersBench({ ...options, share: flags.share });
  if (capability === 'client') return runClientBench(options);
  if (capability === 'leaderless') return runLeaderlessBench(options);
  if (capability === 'multi-leader') return runMultiLeaderBench(options);
  return runFailoverBench({ ...options, peerRuns: flags.peerRuns, minutes: flags.minutes });
}

async function run(capability: string, flags: Flags): Promise<void> {
  const known = Object.keys(CAPABILITIES).join(', ');
  if (!isCapability(capability)) throw new Error(`There is no bench "${capability}"; there are: ${known}.`);
  const full: FullRun = CAPABILITIES[capability];
  const runs = flags.runs ?? full.runs;
  const isFull =
    runs >= full.runs &&
    flags.peerRuns >= full.peerRuns &&
    flags.minutes >= full.minutes &&
    flags.share === 1 &&
    flags.transactions >= full.transactions;
  const isPart = flags.only !== undefined;
  if (flags.keep === true && !isFull)
    throw new Error('--keep takes as many runs, peer runs and minutes as a full run has.');
  const result = await measure(capability, runs, flags);
  if (isFull && (!isPart || flags.keep === true)) await keepResult(capability, result, isPart);
  print(result, flags.json === true);
}

const program = new Command('bench')
  .argument('<capability>', `what to measure: ${Object.keys(CAPABILITIES).join(' or ')}`)
  .option('--json', 'print one JSON document')
  .option('--only <prefix>', 'only the metrics that start so; without --keep it replaces no kept result')
  .option('--keep', 'with --only: its rows replace those of the kept result, and say so')
  .option(
    '--runs <n>',
    'rounds of each contestant, or runs of each fault; fewer than its default replace no kept result',
    parseCount(1),
  )
  .option('--peer-runs <n>', 'failover: runs of each fault for each setting of a peer', parseCount(0), 3)
  .option('--minutes <n>', 'failover: of the run under full load; 30 in a full run', parseCount(1), 1)
  .option(
    '--transactions <n>',
    'apply: length of the backlogs; 300000 in a full run',
    parseCount(100),
    300_000,
  )
  .option(
    '--share <part>',
    'follow, followers: of the sizes of a full run, such as 0.01 to try it out',
    parseShare,
    1,
  )
  .option('--postgres <which>', 'auto, system, embedded or a bin folder', 'auto')
  .action(run);

try {
  await program.parseAsync();
} catch (error) {
  process.stderr.write(`${(error as Error).message}\n`);
  process.exitCode = 1;
}
