// `npm run histories -- --minutes 20`: calls on three real servers under kills, suspensions, cuts and refills, each answer checked.
import { createWriteStream } from 'node:fs';
import { parseArgs } from 'node:util';
import { FAULTS } from './faults.ts';
import { runHistories } from './histories.ts';

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '1' },
    seed: { type: 'string', default: String(Date.now() % 100_000) },
    out: { type: 'string', default: 'histories.jsonl' },
    json: { type: 'boolean', default: false },
  },
});
const out = createWriteStream(values.out);
const result = await runHistories({
  durationMs: Number(values.minutes) * 60_000,
  seed: Number(values.seed),
  faults: FAULTS,
  write: (line) => void out.write(`${JSON.stringify(line)}\n`),
  say: (what) => void process.stderr.write(`${new Date().toISOString()} ${what}\n`),
});
out.end();
const { calls, cart, faults, violations } = result;
process.stdout.write(
  values.json
    ? `${JSON.stringify(result, null, 2)}\n`
    : `seed ${values.seed}: ${calls.ok} calls answered, ${calls.fail} refused, ${calls.info} in doubt; ${cart.adds} adds, ${cart.removals} removals and ${cart.reads} reads of carts; faults ${JSON.stringify(faults)}; ${violations.length} violations; ${values.out}\n${violations.join('\n')}\n`,
);
if (violations.length > 0) process.exitCode = 1;
