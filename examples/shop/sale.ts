import { parseArgs } from 'node:util';
import { fetchTopology, findLocalCluster } from '../../src/cli/commands/local-cluster.ts';
import type { LocalCluster } from '../../src/cli/commands/local-cluster.ts';
import { LockstepError } from '../../src/index.ts';
import { showProgress } from './sale/progress.ts';
import { runSale } from './sale/run.ts';
import type { SaleResult } from './sale/run.ts';

const USAGE = `The holiday sale: shoppers fight for a limited edition, and the database is asked who won.

  npm run sale -- [options]

  --shoppers n     how many come (default 2000)
  --concurrency n  how many are in the shop at the same time (default 64)
  --pieces n       how many limited pieces there are (default 100)
  --seed n         same seed, same wishes (default 1)
  --seconds n      let nobody in after n seconds
  --kill-leader    kill the leader when half of the pieces are sold, and start it again afterwards
  --no-sessions    shoppers use the pool as it is, instead of a session each
  --url url        a cluster elsewhere; default: the one that runs in ./.lockstep
  --json           one JSON document on standard output

throughput counts reads, orders, refusals and reviews a second. p50Ms and p99Ms run from the click on "buy" to
the acknowledgement. unavailableMs is the longest time in which an order was waiting and none was acknowledged;
with --kill-leader only times that ended after the kill count. The exit code is 1 when a rule is broken.
`;

interface Arguments {
  readonly shoppers: number;
  readonly concurrency: number;
  readonly pieces: number;
  readonly seed: number;
  readonly seconds: number | undefined;
  readonly isKillWanted: boolean;
  readonly hasSessions: boolean;
  readonly url: string | undefined;
  readonly isJson: boolean;
}

const EXIT_BROKEN = 1;
const EXIT_NOT_RUN = 2;
const REJOIN_DEADLINE_MS = 60_000;

function parseArguments(args: readonly string[]): Arguments | null {
  const { values } = parseArgs({
    args: [...args],
    options: {
      shoppers: { type: 'string', default: '2000' },
      concurrency: { type: 'string', default: '64' },
      pieces: { type: 'string', default: '100' },
      seed: { type: 'string', default: '1' },
      seconds: { type: 'string' },
      'kill-leader': { type: 'boolean', default: false },
      'no-sessions': { type: 'boolean', default: false },
      url: { type: 'string' },
      json: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) return null;
  return {
    shoppers: parseCount('--shoppers', values.shoppers),
    concurrency: parseCount('--concurrency', values.concurrency),
    pieces: parseCount('--pieces', values.pieces),
    seed: parseCount('--seed', values.seed),
    seconds: values.seconds === undefined ? undefined : parseCount('--seconds', values.seconds),
    isKillWanted: values['kill-leader'],
    hasSessions: !values['no-sessions'],
    url: values.url,
    isJson: values.json,
  };
}

function parseCount(name: string, text: string): number {
  const count = Number(text);
  if (Number.isSafeInteger(count) && count >= 1 && count <= 1_000_000) return count;
  throw new LockstepError('CONFIG_INVALID', `${name} is "${text}"; give a whole number from 1 to 1000000.`);
}

/** With a URL alone nothing can be killed: that takes the local cluster's supervisor. */
async function findCluster(args: Arguments): Promise<{ url: string; local: LocalCluster | null }> {
  if (args.url !== undefined && !args.isKillWanted) return { url: args.url, local: null };
  const local = await findLocalCluster(process.cwd());
  return { url: args.url ?? local.url, local };
}

async function killLeader(local: LocalCluster): Promise<string> {
  const name = await local.leader();
  await local.kill(name);
  return name;
}

/** Starts the killed node again and waits until it follows. Returns how long that took. */
async function startAgain(local: LocalCluster, name: string): Promise<number> {
  const startedAtMs = performance.now();
  await local.start(name);
  for (;;) {
    const topology = await fetchTopology(local.config).catch(() => null);
    const node = topology?.nodes.find((candidate) => candidate.name === name);
    const tookMs = performance.now() - startedAtMs;
    if (node?.role === 'follower' && node.state === 'running') return Math.round(tookMs);
    if (tookMs > REJOIN_DEADLINE_MS) {
      throw new LockstepError(
        'NO_LEADER',
        `${name} did not follow again within ${REJOIN_DEADLINE_MS / 1000} s; see "lockstep status".`,
      );
    }
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

/** What was measured is told also when the killed node does not come back. */
async function rejoin(
  local: LocalCluster | null,
  killed: string | null,
): Promise<{ rejoinedMs: number | null; problems: string[] }> {
  if (local === null || killed === null) return { rejoinedMs: null, problems: [] };
  try {
    return { rejoinedMs: await startAgain(local, killed), problems: [] };
  } catch (error) {
    return {
      rejoinedMs: null,
      problems: [error instanceof Error ? error.message.replace(/\.$/, '') : String(error)],
    };
  }
}

function renderResult(result: SaleResult, rejoinedMs: number | null): string {
  const rows: [string, string][] = [
    ['Sold', `${result.sold}, oversold ${result.oversold}, left ${result.stockLeft}`],
    [
      'Orders acknowledged',
      `${result.orders.toLocaleString('en')}, lost ${result.acknowledgedLost}, twice ${result.duplicates}`,
    ],
    [
      'Throughput',
      `${result.throughput.toLocaleString('en')} operations/s over ${result.seconds} s, ${result.shoppers.toLocaleString('en')} shoppers`,
    ],
    ['Order time', `p50 ${result.p50Ms} ms, p99 ${result.p99Ms} ms`],
    [
      'No order acknowledged for',
      `${result.unavailableMs} ms at most${result.killedLeader === null ? '' : `, after ${result.killedLeader} was killed`}`,
    ],
    [
      'My orders, read right after',
      result.staleViews === 0 ? 'always there' : `${result.staleViews} times stale`,
    ],
    ...Object.entries(result.readsByNode).map(([node, reads]): [string, string] => [
      `Reads from ${node}`,
      reads.toLocaleString('en'),
    ]),
  ];
  if (rejoinedMs !== null)
    rows.push(['Killed node follows again', `after ${(rejoinedMs / 1000).toFixed(1)} s`]);
  const table = rows.map(([name, value]) => `  ${name.padEnd(28)}${value}`).join('\n');
  const verdict =
    result.broken.length === 0
      ? '  All rules held.'
      : result.broken.map((rule) => `  BROKEN: ${rule}.`).join('\n');
  return `\n${table}\n\n${verdict}\n`;
}

async function main(): Promise<number> {
  const args = parseArguments(process.argv.slice(2));
  if (args === null) {
    process.stdout.write(USAGE);
    return 0;
  }
  const { url, local } = await findCluster(args);
  const { shoppers, concurrency, pieces, seed, seconds } = args;
  let progress: { stop(): void } | null = null;
  const result = await runSale({
    url,
    shoppers,
    concurrency,
    pieces,
    seed,
    seconds,
    hasSessions: args.hasSessions,
    killLeader: args.isKillWanted && local !== null ? () => killLeader(local) : undefined,
    onView: (view) => (progress = showProgress(process.stderr, view)),
  }).finally(() => progress?.stop());
  const { rejoinedMs, problems } = await rejoin(local, result.killedLeader);
  const broken = [...result.broken, ...problems];
  process.stdout.write(
    args.isJson
      ? `${JSON.stringify({ ...result, broken, rejoinedMs })}\n`
      : renderResult({ ...result, broken }, rejoinedMs),
  );
  return broken.length === 0 ? 0 : EXIT_BROKEN;
}

try {
  process.exitCode = await main();
} catch (error) {
  const isUsage =
    error instanceof Error && 'code' in error && String(error.code).startsWith('ERR_PARSE_ARGS');
  const message =
    error instanceof LockstepError || isUsage
      ? (error as Error).message
      : String((error as Error).stack ?? error);
  console.error(message);
  process.exitCode = EXIT_NOT_RUN;
}
