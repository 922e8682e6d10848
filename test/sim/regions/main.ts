import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';
import { Worker } from 'node:worker_threads';
import { runRegions } from './run.ts';
import { catchMutant } from './seeds.ts';
import type { RegionSeeds } from './seeds.ts';
import { MUTANTS, SETUPS } from './setups.ts';

const USAGE = `Usage: npm run sim:regions -- [options]

Simulates regions that write to the same keys: the decisions that ship, under delays, crashes and clocks that differ.

  --seeds n    how many runs, over all setups in turn (default 100000)
  --first s    the first seed (default 1)
  --seed s     one run, with its transcript on standard output; --setup or --mutant names which
  --setup x    ${Object.keys(SETUPS).join(', ')}
  --mutant m   ${Object.keys(MUTANTS).join(', ')}
  --mutants    for every mutant, the first seed that catches it
  --json       one JSON document on standard output
  --help

Exit code: 0 when all regions agreed (and every mutant was caught), 1 when not, 2 when the run could not be held.
`;
const CHUNK = 250;

async function runAll(first: number, seeds: number): Promise<RegionSeeds> {
  const total: RegionSeeds = { seeds: 0, steps: 0, repaired: 0, violations: [] };
  let next = first;
  const end = first + seeds;
  const drive = (worker: Worker): Promise<void> =>
    new Promise((resolve, reject) => {
      const more = (): void => {
        if (next >= end) {
          void worker.terminate();
          return resolve();
        }
        const count = Math.min(CHUNK, end - next);
        worker.postMessage({ first: next, count }, []);
        next += count;
      };
      worker.on('error', reject);
      worker.on('message', (result: RegionSeeds) => {
        total.seeds += result.seeds;
        total.steps += result.steps;
        total.repaired += result.repaired;
        total.violations.push(...result.violations);
        for (const { seed, setup, what } of result.violations)
          process.stderr.write(`BROKEN ${what}: npm run sim:regions -- --seed ${seed} --setup ${setup}\n`);
        if (total.seeds % 10_000 === 0) process.stderr.write(`${total.seeds} of ${seeds} seeds\n`);
        more();
      });
      more();
    });
  const file = new URL('./seed-worker.ts', import.meta.url);
  await Promise.all(Array.from({ length: availableParallelism() }, () => drive(new Worker(file))));
  return total;
}

function showSeed(seed: number, name: string, isJson: boolean): number {
  const setup = SETUPS[name] ?? MUTANTS[name];
  if (setup === undefined) throw new TypeError(`there is no setup or mutant "${name}"`);
  const run = runRegions(seed, setup, { hasTranscript: true });
  if (isJson) process.stdout.write(`${JSON.stringify(run)}\n`);
  else
    process.stdout.write(
      `${[...run.transcript, ...run.violations.map((what) => `BROKEN: ${what}`)].join('\n')}\n`,
    );
  return run.violations.length === 0 ? 0 : 1;
}

function showMutants(isJson: boolean): number {
  const caught = Object.keys(MUTANTS).map((name) => ({ name, caught: catchMutant(name, 4_000) }));
  if (isJson) process.stdout.write(`${JSON.stringify(caught)}\n`);
  else
    for (const one of caught)
      process.stdout.write(
        `${one.name} ${one.caught === null ? 'NOT CAUGHT' : `seed ${one.caught.seed}: ${one.caught.what}`}\n`,
      );
  return caught.every((one) => one.caught !== null) ? 0 : 1;
}

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      seeds: { type: 'string', default: '100000' },
      first: { type: 'string', default: '1' },
      seed: { type: 'string' },
      setup: { type: 'string' },
      mutant: { type: 'string' },
      mutants: { type: 'boolean', default: false },
      json: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) {
    process.stdout.write(USAGE);
    return 0;
  }
  if (values.mutants) return showMutants(values.json);
  const names = Object.keys(SETUPS);
  if (values.seed !== undefined) {
    const seed = Number(values.seed);
    return showSeed(seed, values.mutant ?? values.setup ?? names[seed % names.length] ?? '', values.json);
  }
  const result = await runAll(Number(values.first), Number(values.seeds));
  process.stdout.write(
    values.json
      ? `${JSON.stringify(result)}\n`
      : `${result.seeds} seeds, ${result.steps} steps, ${result.repaired} rows put right before pruning, ${result.violations.length} broken\n`,
  );
  return result.violations.length === 0 ? 0 : 1;
}

try {
  process.exitCode = await main();
} catch (error) {
  process.stderr.write(`${(error as Error).message}\n\n${USAGE}`);
  process.exitCode = 2;
}
