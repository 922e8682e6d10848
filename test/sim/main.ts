import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';
import { Worker } from 'node:worker_threads';
import type { SeedRange } from './seed-worker.ts';
import { commandFor } from './seeds.ts';
import type { SeedsResult, Subject } from './seeds.ts';
import { loadSimulation, SIMULATION_NAMES } from './simulation.ts';

const USAGE = `Usage: npm run sim -- [options]

Simulates shipped code under virtual time: faults, then recovery, and every promise checked at every step.

  --of name   what is simulated: ${SIMULATION_NAMES.join(', ')} (default ${SIMULATION_NAMES[0]})
  --seeds n   how many runs (default 10000)
  --first s   the first seed (default 1)
  --seed s    one run, with its transcript on standard output
  --mutant m  break that rule on purpose; "--mutant list" names them
  --json      one JSON document on standard output
  --help

Exit code: 0 when every promise held, 1 when one was broken, 2 when the run could not be held.
`;

const CHUNK = 250;

function parseCount(name: string, text: string): number {
  const value = Number(text);
  if (Number.isSafeInteger(value) && value >= 0) return value;
  throw new TypeError(`--${name} is "${text}"; expected a whole number.`);
}

async function parseSubject(simulation: string, mutant: string | undefined): Promise<Subject> {
  const { mutants } = await loadSimulation(simulation);
  if (mutant !== undefined && !mutants.some(({ name }) => name === mutant))
    throw new TypeError(`--mutant does not know "${mutant}"; "--mutant list" names them.`);
  return { simulation, mutant: mutant ?? null };
}

async function listMutants(simulation: string): Promise<number> {
  const { mutants } = await loadSimulation(simulation);
  for (const { name, what } of mutants) process.stdout.write(`${name}: ${what}\n`);
  return 0;
}

async function showSeed(seed: number, { simulation, mutant }: Subject, isJson: boolean): Promise<number> {
  const lines: string[] = [];
  const { run } = await loadSimulation(simulation);
  const result = await run(seed, { mutant, transcript: (line) => lines.push(line) });
  if (isJson) process.stdout.write(`${JSON.stringify({ ...result, transcript: lines })}\n`);
  else {
    process.stdout.write(`${lines.join('\n')}\n\nhash ${result.hash}, ${result.steps} steps\n`);
    for (const { invariant, what } of result.violations)
      process.stdout.write(`BROKEN: ${invariant}: ${what}\n`);
  }
  return result.violations.length === 0 ? 0 : 1;
}

/** Hands chunks of seeds to one thread for each processor, and shows on standard error how far they are. */
async function runSeeds(first: number, seeds: number, subject: Subject): Promise<SeedsResult> {
  const total: SeedsResult = { seeds: 0, steps: 0, violations: [] };
  let next = first;
  const end = first + seeds;
  const startedAtMs = performance.now();
  let toldAtMs = startedAtMs;
  const drive = (worker: Worker): Promise<void> =>
    new Promise((resolve, reject) => {
      const more = (): void => {
        if (next >= end) {
          void worker.terminate();
          return resolve();
        }
        const count = Math.min(CHUNK, end - next);
        worker.postMessage({ first: next, count, subject } satisfies SeedRange, []);
        next += count;
      };
      worker.on('error', reject);
      worker.on('message', (result: SeedsResult) => {
        total.seeds += result.seeds;
        total.steps += result.steps;
        for (const violation of result.violations) {
          total.violations.push(violation);
          process.stderr.write(`BROKEN ${violation.invariant}: ${violation.command}\n`);
        }
        if (performance.now() - toldAtMs > 2_000) {
          toldAtMs = performance.now();
          process.stderr.write(`${total.seeds} of ${seeds} seeds\n`);
        }
        more();
      });
      more();
    });
  const threads = Math.max(1, Math.min(availableParallelism(), Math.ceil(seeds / CHUNK)));
  const workers = Array.from(
    { length: threads },
    () => new Worker(new URL('seed-worker.ts', import.meta.url)),
  );
  await Promise.all(workers.map(drive));
  total.violations.sort((a, b) => a.seed - b.seed);
  return total;
}

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      of: { type: 'string', default: SIMULATION_NAMES[0] ?? '' },
      seeds: { type: 'string', default: '10000' },
      first: { type: 'string', default: '1' },
      seed: { type: 'string' },
      mutant: { type: 'string' },
      json: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) {
    process.stdout.write(USAGE);
    return 0;
  }
  if (values.mutant === 'list') return listMutants(values.of);
  const subject = await parseSubject(values.of, values.mutant);
  if (values.seed !== undefined) return showSeed(parseCount('seed', values.seed), subject, values.json);
  const startedAtMs = performance.now();
  const result = await runSeeds(
    parseCount('first', values.first),
    parseCount('seeds', values.seeds),
    subject,
  );
  if (values.json) process.stdout.write(`${JSON.stringify(result)}\n`);
  else {
    const seconds = ((performance.now() - startedAtMs) / 1_000).toFixed(1);
    const found = result.violations.map(
      ({ invariant, seed }) => `  ${invariant}: ${commandFor(seed, subject)}`,
    );
    const verdict = found.length === 0 ? 'Every promise held.' : `BROKEN:\n${found.join('\n')}`;
    process.stdout.write(`${result.seeds} seeds, ${result.steps} steps, ${seconds} s. ${verdict}\n`);
  }
  return result.violations.length === 0 ? 0 : 1;
}

try {
  process.exitCode = await main();
} catch (error) {
  process.stderr.write(`${(error as Error).message}\n\n${USAGE}`);
  process.exitCode = 2;
}
