import { parseArgs } from 'node:util';
import { runClientFailover } from './client-failover.ts';
import type { ChaosResult } from './client-failover.ts';

const SCENARIOS = { 'client-failover': runClientFailover };

const USAGE = `Usage: npm run chaos -- [options]

Breaks a real three-node cluster again and again under load, and checks what callers were told.

  --rounds n       faults to inject (default 20)
  --scenario name  ${Object.keys(SCENARIOS).join(', ')} (default client-failover)
  --seed s         draws the same faults and load again (default: by the clock, printed)
  --json           one JSON document on standard output
  --help

Exit code: 0 when every promise held, 1 when one was broken, 2 when the run could not be held.
`;

function parseCount(name: string, text: string): number {
  const value = Number(text);
  if (Number.isSafeInteger(value) && value >= 0) return value;
  throw new TypeError(`--${name} is "${text}"; expected a whole number.`);
}

function renderResult(result: ChaosResult): string {
  const { faults, unknown, unavailableMs, violations } = result;
  const rows: [string, string | number][] = [
    ['Rounds', result.rounds],
    [
      'Faults',
      Object.entries(faults)
        .map(([name, count]) => `${name} ${count}`)
        .join(', '),
    ],
    ['New leaders', result.failovers],
    ['Writes acknowledged', result.acknowledged],
    ['Synchronous ones lost', result.lost],
    ['Asynchronous ones lost', `${result.asyncLost} (allowed)`],
    ['Doubled', result.doubled],
    ['Two leaders at once', result.overlaps],
    ['Lost answers', `${unknown.met}, ${unknown.resolved} resolved by key, ${unknown.told} told as unknown`],
    ['Session reads, repeats', `${result.sessionReads}, ${result.repeats}`],
    ['Unavailable', `median ${unavailableMs.median} ms, worst ${unavailableMs.worst} ms`],
  ];
  const table = rows.map(([name, value]) => `  ${name.padEnd(26)}${value}`).join('\n');
  const verdict =
    violations.length === 0
      ? '  Every promise held.'
      : violations.map(({ rule, what }) => `  BROKEN: ${rule}: ${what}`).join('\n');
  return `\n${table}\n\n${verdict}\n`;
}

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      rounds: { type: 'string', default: '20' },
      scenario: { type: 'string', default: 'client-failover' },
      seed: { type: 'string', default: String(Date.now() % 1_000_000) },
      json: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) {
    process.stdout.write(USAGE);
    return 0;
  }
  if (!Object.hasOwn(SCENARIOS, values.scenario)) {
    throw new TypeError(
      `--scenario is "${values.scenario}"; known are ${Object.keys(SCENARIOS).join(', ')}.`,
    );
  }
  const runScenario = SCENARIOS[values.scenario as keyof typeof SCENARIOS];
  const seed = parseCount('seed', values.seed);
  let isStopped = false;
  process.once('SIGINT', () => {
    isStopped = true;
    process.stderr.write('Stopping after this round.\n');
  });
  process.stderr.write(`Seed ${seed}. Starting a cluster of three.\n`);
  const result = await runScenario({
    rounds: parseCount('rounds', values.rounds),
    seed,
    onProgress: (line) => process.stderr.write(`${line}\n`),
    isStopped: () => isStopped,
  });
  process.stdout.write(values.json ? `${JSON.stringify(result)}\n` : renderResult(result));
  return result.violations.length === 0 ? 0 : 1;
}

try {
  process.exitCode = await main();
} catch (error) {
  process.stderr.write(`${error instanceof TypeError ? error.message : String((error as Error).stack)}\n`);
  process.exitCode = 2;
}
