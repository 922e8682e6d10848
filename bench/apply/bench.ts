import pg from 'pg';
import { describeMachine } from '../machine.ts';
import { meetsBar, renderBar } from '../result.ts';
import type { Bar, BenchResult, Row } from '../result.ts';
import { median, medianRatio } from '../statistics.ts';
import { applyWithLockstep, applyWithSubscription } from './appliers.ts';
import type { ApplyRoundOptions } from './appliers.ts';
import { startDelayProxy } from './delay-proxy.ts';
import { measureLag } from './lag.ts';
import { LOADS } from './loads.ts';
import type { ApplyLoad } from './loads.ts';
import { ApplyServers } from './servers.ts';

export interface ApplyBenchOptions {
  readonly only: string | null;
  /** Rounds of each side, in turn. */
  readonly runs: number;
  /** Length of the backlogs. */
  readonly transactions: number;
  readonly signal: AbortSignal;
  readonly progress: (line: string) => void;
}

/** One comparison with PostgreSQL's own subscription. */
interface Contest {
  readonly metric: string;
  readonly load: ApplyLoad;
  readonly isSynchronous: boolean;
  readonly bar: Bar | null;
}

const AGAINST_18: readonly Contest[] = [
  { metric: 'updates', load: LOADS.updates, isSynchronous: false, bar: { least: 1.7 } },
  { metric: 'inserts', load: LOADS.inserts, isSynchronous: false, bar: { least: 1.2 } },
  { metric: 'orders', load: LOADS.orders, isSynchronous: false, bar: { least: 1.25 } },
  { metric: 'large-insert', load: LOADS.largeInsert, isSynchronous: false, bar: { least: 0.9 } },
  { metric: 'large-update', load: LOADS.largeUpdate, isSynchronous: false, bar: { least: 1.8 } },
  { metric: 'synchronous', load: LOADS.updates, isSynchronous: true, bar: { least: 7 } },
  { metric: 'hot-rows', load: LOADS.hotRows, isSynchronous: false, bar: null },
];
const AGAINST_15: readonly Contest[] = [
  { metric: 'updates', load: LOADS.updates, isSynchronous: false, bar: { least: 1.3 } },
  { metric: 'inserts', load: LOADS.inserts, isSynchronous: false, bar: { least: 0.9 } },
  { metric: 'orders', load: LOADS.orders, isSynchronous: false, bar: { least: 0.9 } },
  { metric: 'large-insert', load: LOADS.largeInsert, isSynchronous: false, bar: { least: 0.9 } },
  { metric: 'large-update', load: LOADS.largeUpdate, isSynchronous: false, bar: { least: 0.9 } },
];
const ROUND_TRIP_MS = 80;
const DISTANCE = 'pg18/distance';
/** Half of what must get there. */
const LAG_LOAD = 10_000;
const LAG_SECONDS = 20;
const LAG_BAR: Bar = { most: ROUND_TRIP_MS / 2 + 60 };

/** `lockstep follow` beside PostgreSQL's own subscription: the same backlog, in turn, and the same rows by hash. */
export async function runApplyBench(options: ApplyBenchOptions): Promise<BenchResult> {
  const when = new Date().toISOString();
  const rows: Row[] = [];
  const versions: string[] = [];
  for (const [prefix, postgres, contests] of [
    ['pg18', 'embedded', AGAINST_18],
    ['pg15', 'system', AGAINST_15],
  ] as const) {
    const wanted = (metric: string): boolean => options.only === null || metric.startsWith(options.only);
    const chosen = contests.filter(({ metric }) => wanted(`${prefix}/${metric}`));
    const isFar = prefix === 'pg18' && wanted(DISTANCE);
    if (chosen.length === 0 && !isFar) continue;
    await using servers = await ApplyServers.start(postgres);
    versions.push(servers.version);
    for (const contest of chosen) rows.push(await runContest(servers, prefix, contest, options));
    if (isFar) rows.push(...(await runDistance(servers, options)));
  }
  if (rows.length === 0) throw new Error(`No metric starts with "${options.only}".`);
  return { when, machine: describeMachine(versions.join(' and ')), rows };
}

async function runContest(
  servers: ApplyServers,
  prefix: string,
  { metric, load, isSynchronous, bar }: Contest,
  { runs, transactions, signal, progress }: ApplyBenchOptions,
): Promise<Row> {
  progress(`${prefix}/${metric}: writing the backlog …`);
  await servers.prepare(load, transactions);
  const round: ApplyRoundOptions = { isSynchronous, signal };
  const rates: Record<'ours' | 'theirs', number[]> = { ours: [], theirs: [] };
  const wrong: string[] = [];
  const count = load.rowsOf(transactions);
  for (let run = 0; run < runs; run++) {
    const sides = [
      ['ours', applyWithLockstep],
      ['theirs', applyWithSubscription],
    ] as const;
    // In turn, and neither always first.
    for (const [side, apply] of run % 2 === 0 ? sides : sides.toReversed()) {
      signal.throwIfAborted();
      const { seconds, difference } = await apply(servers, load, round);
      if (difference !== null && side === 'ours') throw new Error(`${metric}: ours has ${difference}.`);
      if (difference !== null) wrong.push(difference);
      rates[side].push(count / seconds);
      progress(`${prefix}/${metric}: ${side} ${Math.round(count / seconds)} rows a second`);
    }
  }
  const { ours, theirs } = rates;
  const ratio = medianRatio(ours, theirs);
  return {
    metric: `${prefix}/${metric}`,
    unit: 'rows/s',
    ours: Math.round(median(ours)),
    peer: Math.round(median(theirs)),
    peerName: `PostgreSQL ${servers.major}'s subscription`,
    ratio: ratio.median,
    spread: [ratio.low, ratio.high],
    bar: bar === null ? null : renderBar(bar),
    met: bar === null ? null : meetsBar(bar, ratio.median),
    runs,
    processes: [],
    note:
      wrong.length === 0 ? null : `of ${runs} rounds the subscription left in ${wrong.length}: ${wrong[0]}`,
  };
}

/** The target is far: how much gets there, beside one statement for each round trip. */
async function runDistance(servers: ApplyServers, options: ApplyBenchOptions): Promise<Row[]> {
  const load = LOADS.updates;
  options.progress(`${DISTANCE}: writing the backlog …`);
  await servers.prepare(load, options.transactions);
  await using proxy = await startDelayProxy(servers.target.url, ROUND_TRIP_MS);
  const lag = await measureLag(servers, {
    targetUrl: proxy.url,
    transactionsPerSecond: LAG_LOAD,
    seconds: LAG_SECONDS,
    signal: options.signal,
  });
  const ours: number[] = [];
  for (let run = 0; run < options.runs; run++) {
    const round = { isSynchronous: false, targetUrl: proxy.url, signal: options.signal };
    const { seconds } = await applyWithLockstep(servers, load, round);
    ours.push(options.transactions / seconds);
    options.progress(`${DISTANCE}: ${Math.round(ours[run] ?? 0)} transactions a second`);
  }
  const single = await measureSingleStatements(proxy.url);
  const rate = median(ours);
  const common = {
    unit: 'transactions/s',
    ours: Math.round(rate),
    spread: null,
    runs: options.runs,
    processes: [],
  };
  const least: Bar = { least: 20_000 };
  const times: Bar = { least: 50 };
  return [
    {
      ...common,
      metric: DISTANCE,
      peer: null,
      peerName: null,
      ratio: null,
      bar: renderBar(least),
      met: meetsBar(least, rate),
      note: `${ROUND_TRIP_MS} ms of round trip to the target`,
    },
    {
      ...common,
      metric: `${DISTANCE}-times`,
      peer: single,
      peerName: 'one statement per round trip',
      ratio: rate / single,
      bar: renderBar(times),
      met: meetsBar(times, rate / single),
      note: null,
    },
    {
      ...common,
      metric: `${DISTANCE}-lag-p99`,
      unit: 'ms',
      ours: lag.p99Ms,
      runs: 1,
      peer: null,
      peerName: null,
      ratio: null,
      bar: renderBar(LAG_BAR),
      met: meetsBar(LAG_BAR, lag.p99Ms),
      note: `until a commit was seen at the target, ${lag.samples} times, while ${Math.round(lag.transactionsPerSecond)} transactions a second were written`,
    },
  ];
}

async function measureSingleStatements(url: string): Promise<number> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    const count = 30;
    const startedAtMs = performance.now();
    for (let id = 1; id <= count; id++)
      await client.query(`UPDATE t_updates SET status = 'x' WHERE id = $1`, [id]);
    return (count * 1_000) / (performance.now() - startedAtMs);
  } finally {
    await client.end();
  }
}
