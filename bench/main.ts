// `npm run bench -- <capability>`: prints a table, or one JSON document with --json; progress goes to stderr.
import { Command, InvalidArgumentError } from 'commander';
import { runClientBench } from './client/bench.ts';
import { keepResult } from './kept-result.ts';
import { renderTable } from './result.ts';
import type { BenchResult } from './result.ts';

interface Flags {
  readonly json?: true;
  readonly only?: string;
  readonly runs: number;
  readonly postgres: string;
}

const DEFAULT_RUNS = 15;

function parseRuns(text: string): number {
  const runs = Number(text);
  if (Number.isInteger(runs) && runs > 0) return runs;
  throw new InvalidArgumentError('expected a whole number from 1.');
}

function print(result: BenchResult, isJson: boolean): void {
  if (isJson) {
    process.stdout.write(`${JSON.stringify(result, null, 2)}\n`);
    return;
  }
  const notes = result.rows.flatMap(({ metric, note }) => (note === null ? [] : [`${metric}: ${note}`]));
  process.stdout.write([result.machine, renderTable(result.rows), ...notes, ''].join('\n'));
}

async function run(capability: string, flags: Flags): Promise<void> {
  if (capability !== 'client') throw new Error(`There is no bench "${capability}"; there is: client.`);
  const interrupt = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
    process.on(signal, () => interrupt.abort(new Error(`${signal} ended the bench.`)));
  const result = await runClientBench({
    only: flags.only ?? null,
    runs: flags.runs,
    postgres: flags.postgres,
    signal: interrupt.signal,
    progress: (line) => process.stderr.write(`${line}\n`),
  });
  const isFull = flags.only === undefined && flags.runs >= DEFAULT_RUNS;
  if (isFull) await keepResult(capability, result);
  print(result, flags.json === true);
}

const program = new Command('bench')
  .argument('<capability>', 'what to measure: client')
  .option('--json', 'print one JSON document')
  .option('--only <prefix>', 'only the metrics that start so; does not replace the kept result')
  .option(
    '--runs <n>',
    'rounds of each contestant; fewer do not replace the kept result',
    parseRuns,
    DEFAULT_RUNS,
  )
  .option('--postgres <which>', 'auto, system, embedded or a bin folder', 'auto')
  .action(run);

try {
  await program.parseAsync();
} catch (error) {
  process.stderr.write(`${(error as Error).message}\n`);
  process.exitCode = 1;
}
