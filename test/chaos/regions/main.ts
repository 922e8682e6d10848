// `npm run chaos:regions -- --rounds 20 --seconds 600`: kills regions' processes and servers and cuts their links under load,
// with clocks that differ; exits with 1 on a violation.
import { parseArgs } from 'node:util';
import { runRegionsChaos } from './chaos.ts';
import type { RegionsChaosResult } from './chaos.ts';

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '1' },
    seconds: { type: 'string', default: '600' },
    seed: { type: 'string', default: '1' },
    json: { type: 'boolean', default: false },
  },
});
const results: RegionsChaosResult[] = [];
for (let round = 0; round < Number(values.rounds); round++) {
  const seed = Number(values.seed) + round;
  const result = await runRegionsChaos({
    seconds: Number(values.seconds),
    seed,
    progress: (line) => void process.stderr.write(`${line}\n`),
  });
  results.push(result);
  if (!values.json) process.stdout.write(`${describeResult(result)}\n`);
}
if (values.json) process.stdout.write(`${JSON.stringify(results, null, 2)}\n`);
if (results.some(({ violations }) => violations.length > 0)) process.exitCode = 1;

function describeResult(result: RegionsChaosResult): string {
  const { seed, seconds, faults, writes, rows, conflicts, settledInMs, violations } = result;
  const what = `${writes} writes, ${rows} rows, ${conflicts} conflicts, equal after ${settledInMs} ms`;
  const head = `seed ${seed}: ${seconds} s (${JSON.stringify(faults)}), ${what}, ${violations.length} violations`;
  return [head, ...violations].join('\n');
}
