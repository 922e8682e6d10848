import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import { startDelayProxy } from '../apply/delay-proxy.ts';
import type { DelayProxy } from '../apply/delay-proxy.ts';
import { meetsBar, renderBar } from '../result.ts';
import type { Row } from '../result.ts';
import { percentile } from '../statistics.ts';
import { NAMES } from './local-writes.ts';
import type { PartOptions } from './local-writes.ts';
import { BenchServers } from './servers.ts';
import type { BenchServer } from './servers.ts';

const SCHEMA = `
  CREATE TABLE products (id int PRIMARY KEY, stock int NOT NULL, price numeric(10, 2) NOT NULL, updated_at timestamptz NOT NULL);
  CREATE TABLE orders (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), customer_id int NOT NULL, status text NOT NULL, total numeric(10, 2) NOT NULL);
  CREATE TABLE order_items (order_id uuid, line int, product_id int, qty int NOT NULL, price numeric(10, 2) NOT NULL, PRIMARY KEY (order_id, line));
  CREATE TABLE probes (id int PRIMARY KEY, at bigint NOT NULL);
  INSERT INTO products SELECT g, 1000000, 10.5, '2026-01-01' FROM generate_series(1, 1000) g;`;
/** An order, three items, three pieces of stock. */
const ORDER = `WITH o AS (INSERT INTO orders (customer_id, status, total) VALUES ($1, 'paid', 31.5) RETURNING id),
  i AS (INSERT INTO order_items SELECT id, n, 1 + ($1 * 7 + n * 331) % 1000, 1, 10.5 FROM o, generate_series(1, 3) n RETURNING product_id)
  UPDATE products SET stock = stock - 1, updated_at = now() WHERE id IN (SELECT product_id FROM i)`;
const ORDERS_PER_SECOND = 50;
const PROBES = 600;
const PROBE_EVERY_MS = 50;
const POLL_MS = 2;
const ROUND_TRIP_MS = 80;

/** From the commit in one region to when another one's reader sees it, while every region takes orders. */
export async function runLag(options: PartOptions): Promise<Row[]> {
  const rows: Row[] = [];
  for (const [metric, roundTripMs, most] of [
    ['lag/loopback', 0, 100],
    ['lag/distant', ROUND_TRIP_MS, ROUND_TRIP_MS / 2 + 80],
  ] as const) {
    if (options.only !== null && !metric.startsWith(options.only)) continue;
    const lags = (await measureLags(roundTripMs, options)).toSorted((a, b) => a - b);
    const p99 = percentile(lags, 0.99);
    const bar = { most };
    const setting = roundTripMs === 0 ? 'on one machine' : `${roundTripMs} ms of round trip between any two`;
    rows.push({
      metric,
      unit: 'ms',
      ours: p99,
      peer: null,
      peerName: null,
      ratio: null,
      spread: null,
      bar: renderBar(bar),
      met: meetsBar(bar, p99),
      runs: 1,
      processes: [],
      note: `p99 of ${lags.length} probes, ${setting}, ${ORDERS_PER_SECOND} orders a second in each of ${NAMES.length} regions; p50 ${percentile(lags, 0.5).toFixed(1)} ms`,
    });
  }
  return rows;
}

async function measureLags(roundTripMs: number, { signal, progress }: PartOptions): Promise<number[]> {
  await using servers = await BenchServers.create();
  await using proxies = new AsyncDisposableStack();
  const regions: BenchServer[] = [];
  const far = new Map<string, DelayProxy>();
  for (const name of NAMES) {
    const server = await servers.start(name);
    await server.client.query(SCHEMA);
    regions.push(server);
    if (roundTripMs > 0) far.set(name, proxies.use(await startDelayProxy(server.url, roundTripMs)));
  }
  await servers.startRegions(regions, null, (of, seenFrom) =>
    of === seenFrom ? of.url : (far.get(of.name)?.url ?? of.url),
  );
  const over = new AbortController();
  const writing = regions.map(({ url }) => takeOrders(url, AbortSignal.any([signal, over.signal])));
  try {
    const [from, to] = regions;
    if (from === undefined || to === undefined) return [];
    progress(`lag with ${roundTripMs} ms of round trip: ${PROBES} probes …`);
    return await probe(from.url, to.url, signal);
  } finally {
    over.abort();
    await Promise.all(writing);
  }
}

/** At a steady rate, whatever one takes. */
async function takeOrders(url: string, signal: AbortSignal): Promise<void> {
  const pool = new pg.Pool({ connectionString: url, max: 4 });
  const open = new Set<Promise<unknown>>();
  for (let n = 0; !signal.aborted; n++) {
    const order = pool.query(ORDER, [n]).catch((error: unknown) => {
      // Two orders may want the same stock in another order.
      if ((error as pg.DatabaseError).code !== '40P01') throw error;
    });
    open.add(order);
    void order.finally(() => open.delete(order));
    await delay(1_000 / ORDERS_PER_SECOND, undefined, { signal }).catch(() => undefined);
  }
  await Promise.all(open);
  await pool.end();
}

async function probe(fromUrl: string, toUrl: string, signal: AbortSignal): Promise<number[]> {
  const [from, to] = [new pg.Client(fromUrl), new pg.Client(toUrl)];
  await Promise.all([from.connect(), to.connect()]);
  const committedAt = new Map<number, number>();
  const lags: number[] = [];
  const write = async (): Promise<void> => {
    for (let id = 1; id <= PROBES; id++) {
      await from.query('INSERT INTO probes VALUES ($1, 0)', [id]);
      committedAt.set(id, performance.now());
      await delay(PROBE_EVERY_MS, undefined, { signal });
    }
  };
  const look = async (): Promise<void> => {
    for (let seen = 0; seen < PROBES;) {
      signal.throwIfAborted();
      const { rows } = await to.query<{ last: number }>('SELECT coalesce(max(id), 0) AS last FROM probes');
      const atMs = performance.now();
      for (; seen < (rows[0]?.last ?? 0); seen++)
        lags.push(Math.max(0, atMs - (committedAt.get(seen + 1) ?? atMs)));
      await delay(POLL_MS);
    }
  };
  try {
    await Promise.all([write(), look()]);
  } finally {
    await Promise.all([from.end(), to.end()]);
  }
  return lags;
}
