import { spawn } from 'node:child_process';
import { cpus } from 'node:os';
import { fileURLToPath } from 'node:url';
import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import type { TestCluster } from '../../src/testing/index.ts';
import { percentile } from '../statistics.ts';

const SALE = fileURLToPath(new URL('../../examples/shop/sale.ts', import.meta.url));
/** Between two rows that are looked for. */
const PAUSE_MS = 20;
const SALE_PATIENCE_MS = 240_000;

export interface VisibleLag {
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly worstMs: number;
  readonly count: number;
  /** The sale's own figure, a second. */
  readonly saleThroughput: number;
  /** Of all processors' time, while it was measured. */
  readonly busyShare: number;
}

/**
 * From the moment at which a client knows that its commit is done until a read of each follower has answered with the row,
 * while the shop's sale runs. What a read itself takes is part of it.
 */
export async function measureLag(
  cluster: TestCluster,
  seconds: number,
  progress: (line: string) => void,
): Promise<VisibleLag> {
  const leader = await cluster.leader();
  const { url } = cluster;
  // Its first run fills the shop.
  await runSale(url, ['--shoppers', '1', '--pieces', '1']);
  progress('the shop is filled');
  const clients = new Map<string, pg.Client>();
  try {
    for (const { name, dsn } of cluster.nodes) {
      const client = new pg.Client({ connectionString: dsn });
      await client.connect();
      clients.set(name, client);
    }
    const onLeader = clients.get(leader);
    if (onLeader === undefined) throw new Error(`There is no node ${leader}.`);
    const followers = [...clients].filter(([name]) => name !== leader).map(([, client]) => client);
    await onLeader.query('CREATE TABLE marks (id int PRIMARY KEY)');
    const sale = runSale(url, [
      '--shoppers',
      '1000000',
      '--pieces',
      '1000000',
      '--seconds',
      String(seconds + 5),
    ]);
    await delay(3_000);
    const busySince = cpuTimes();
    const untilMs = performance.now() + seconds * 1_000;
    const lags: number[] = [];
    for (let mark = 1; performance.now() < untilMs; mark += 1) {
      await onLeader.query({ name: 'mark', text: 'INSERT INTO marks VALUES ($1)', values: [mark] });
      const knownAtMs = performance.now();
      const seen = followers.map((follower) => untilVisible(follower, mark));
      lags.push(...(await Promise.all(seen)).map((atMs) => atMs - knownAtMs));
      await delay(PAUSE_MS);
    }
    const busy = cpuTimes();
    const { throughput } = await sale;
    const sorted = lags.toSorted((a, b) => a - b);
    return {
      p50Ms: percentile(sorted, 0.5),
      p99Ms: percentile(sorted, 0.99),
      worstMs: percentile(sorted, 1),
      count: sorted.length,
      saleThroughput: throughput,
      busyShare: 1 - (busy.idle - busySince.idle) / (busy.all - busySince.all),
    };
  } finally {
    await Promise.all([...clients.values()].map((client) => client.end().catch(() => undefined)));
  }
}

async function untilVisible(follower: pg.Client, mark: number): Promise<number> {
  for (;;) {
    const { rowCount } = await follower.query({
      name: 'look',
      text: 'SELECT FROM marks WHERE id = $1',
      values: [mark],
    });
    if (rowCount === 1) return performance.now();
  }
}

function cpuTimes(): { readonly idle: number; readonly all: number } {
  const sum = { idle: 0, all: 0 };
  for (const { times } of cpus()) {
    sum.idle += times.idle;
    sum.all += times.idle + times.user + times.sys + times.nice + times.irq;
  }
  return sum;
}

/** A process of its own, as the shop is. */
async function runSale(url: string, words: readonly string[]): Promise<{ readonly throughput: number }> {
  const child = spawn(process.execPath, [SALE, '--url', url, '--json', ...words], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let told = '';
  child.stdout.on('data', (chunk: Buffer) => (told += chunk.toString()));
  const timer = setTimeout(() => child.kill(), SALE_PATIENCE_MS);
  await new Promise((resolve) => child.once('close', resolve));
  clearTimeout(timer);
  return JSON.parse(told) as { throughput: number };
}
