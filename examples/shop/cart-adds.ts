// `npm run carts`: counts what carts hold after many adds, while servers die.
import { parseArgs } from 'node:util';
import { LockstepError, quorum } from '../../src/leaderless/index.ts';
import type { Quorum } from '../../src/leaderless/index.ts';
import { IndependentServers } from '../../test/integration/leaderless/servers.ts';
import { runAdds } from './cart-adds/run.ts';
import type { AddsResult } from './cart-adds/run.ts';
import { cartWay, lastWriteWay } from './cart-adds/ways.ts';
import type { Way } from './cart-adds/ways.ts';

const USAGE = `Adds pieces to carts on three independent servers, from two processes' worth of callers, and counts
in the end what is there: once with the kind "cart" at level "accept", and once with carts as values of which the last
write stays. It starts servers of its own, and removes them.

  npm run carts -- [options]

  --kill           servers die in turn while pieces are added, and come back
  --adds n         how many pieces, for each of the two (default 1000000)
  --carts n        into how many carts (default 2000)
  --concurrency n  how many add at the same time (default 128)
  --seed n         same seed, same wishes (default 1)
  --json           one JSON document on standard output

The exit code is 1 when the kind "cart" lost a piece that was acknowledged, or has one that nobody added.
`;

const PRODUCTS = 20;

function parseCount(name: string, text: string): number {
  const count = Number(text);
  if (Number.isSafeInteger(count) && count >= 1 && count <= 100_000_000) return count;
  throw new LockstepError('CONFIG_INVALID', `${name} is "${text}"; give a whole number from 1 to 100000000.`);
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      kill: { type: 'boolean', default: false },
      adds: { type: 'string', default: '1000000' },
      carts: { type: 'string', default: '2000' },
      concurrency: { type: 'string', default: '128' },
      seed: { type: 'string', default: '1' },
      json: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) {
    process.stdout.write(USAGE);
    return;
  }
  const options = {
    adds: parseCount('--adds', values.adds),
    carts: parseCount('--carts', values.carts),
    concurrency: parseCount('--concurrency', values.concurrency),
    seed: parseCount('--seed', values.seed),
    products: PRODUCTS,
    isKilling: values.kill,
    progress: (line: string) => void process.stderr.write(`${line}\n`),
  };
  const results: AddsResult[] = [];
  await using servers = await IndependentServers.start();
  const open = (): Promise<Quorum> =>
    quorum({ nodes: servers.servers.map(({ name, url }) => ({ name, url })), deadlineMs: 5_000 });
  const [one, two] = [await open(), await open()];
  try {
    for (const wayOf of [cartWay, lastWriteWay]) {
      const ways: readonly [Way, Way] = [wayOf(one), wayOf(two)];
      results.push(await runAdds(ways, servers, options));
    }
  } finally {
    await Promise.all([one.close(), two.close()]);
  }
  const [kept] = results;
  process.stdout.write(
    values.json ? `${JSON.stringify({ ...options, results }, null, 2)}\n` : render(results),
  );
  if (kept === undefined || kept.lost > 0 || kept.invented > 0) process.exitCode = 1;
}

function render(results: readonly AddsResult[]): string {
  const number = (value: number): string => value.toLocaleString('en');
  return results
    .map(
      (result) =>
        `${result.way}: ${number(result.acknowledged)} adds acknowledged (${number(result.addsPerSecond)}/s, ${result.kills} kills, ` +
        `at most ${number(result.longestGapMs)} ms without one), ${number(result.lost)} lost, ${number(result.invented)} invented, ` +
        `${number(result.unacknowledged)} not acknowledged\n`,
    )
    .join('');
}

main().catch((error: unknown) => {
  process.stderr.write(
    `${error instanceof LockstepError ? error.message : String((error as Error).stack)}\n`,
  );
  process.exitCode = 2;
});
