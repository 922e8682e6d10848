import { setTimeout as delay } from 'node:timers/promises';
import { PUBLICATION } from '../../src/multi-leader/setup/publication.ts';
import { nameFor, prepareRegion } from '../../src/multi-leader/setup/region-setup.ts';
import { Region } from '../../src/multi-leader/region.ts';
import { meetsBar, renderBar } from '../result.ts';
import type { Bar, Row } from '../result.ts';
import { median, medianRatio } from '../statistics.ts';
import type { PartOptions } from './local-writes.ts';
import { BenchServers } from './servers.ts';
import type { BenchServer } from './servers.ts';

const ROWS = 200_000;
const CHANGES = 100_000;
const TIMEOUT_MS = 300_000;
const POLL_MS = 10;
const BASE_SLOT = 'base_of_all_rounds';
const NAMES = ['eu', 'us'];
const SCHEMA = `CREATE TABLE rows (id bigint PRIMARY KEY, customer_id int NOT NULL, status text NOT NULL, note text NOT NULL, updated_at timestamptz NOT NULL);
  CREATE TABLE marker (id int PRIMARY KEY)`;
const FILL = `INSERT INTO rows SELECT g, g % 50000, 'paid', rpad(md5(g::text), 60, 'x'), '2026-01-01' FROM generate_series(1, ${ROWS}) g`;
/** Keys are spread, so that neighbours in the log are not neighbours on the disk. */
const BACKLOG = `DO $$ BEGIN FOR i IN 1..${CHANGES} LOOP
  UPDATE rows SET status = 'shipped', customer_id = customer_id + 1, updated_at = now() WHERE id = 1 + i::bigint * 7919 % ${ROWS};
  COMMIT; END LOOP; END $$`;

interface Contest {
  readonly metric: string;
  /** Of all rows, changed here later than there. */
  readonly conflictingShare: number;
  readonly bar: Bar;
}

const CONTESTS: readonly Contest[] = [
  { metric: 'apply/updates', conflictingShare: 0, bar: { least: 1.4 } },
  { metric: 'apply/updates-10%-conflicts', conflictingShare: 0.1, bar: { least: 0.9 } },
];

/** A region's link beside PostgreSQL 18's own subscription, which also looks for conflicts: the same backlog, in turn. */
export async function runApply(options: PartOptions): Promise<Row[]> {
  const wanted = CONTESTS.filter(({ metric }) => options.only === null || metric.startsWith(options.only));
  if (wanted.length === 0) return [];
  await using servers = await BenchServers.create();
  const [source, target] = [await servers.start('eu'), await servers.start('us')];
  options.progress('apply: writing the backlog …');
  for (const { client } of [source, target]) await client.query(SCHEMA);
  await source.client.query(FILL);
  await prepareRegion(source.client, { name: 'eu', names: NAMES, definition: {} });
  await source.client.query(`SELECT pg_drop_replication_slot('${nameFor('us')}')`);
  await source.client.query(`SELECT pg_create_logical_replication_slot('${BASE_SLOT}', 'pgoutput')`);
  await source.client.query('SET synchronous_commit = off');
  await source.client.query(BACKLOG);
  await source.client.query('SET synchronous_commit = on');
  await source.client.query('INSERT INTO marker VALUES (1)');
  const rows: Row[] = [];
  for (const contest of wanted) rows.push(await runContest({ source, target }, contest, options));
  return rows;
}

interface Sides {
  readonly source: BenchServer;
  readonly target: BenchServer;
}

async function runContest(
  sides: Sides,
  { metric, conflictingShare, bar }: Contest,
  { runs, signal, progress }: PartOptions,
): Promise<Row> {
  const rates: Record<'ours' | 'theirs', number[]> = { ours: [], theirs: [] };
  for (let run = 0; run < runs; run++) {
    const both = [
      ['ours', applyWithRegion],
      ['theirs', applyWithSubscription],
    ] as const;
    for (const [side, apply] of run % 2 === 0 ? both : both.toReversed()) {
      signal.throwIfAborted();
      const seconds = await apply(sides, conflictingShare, signal);
      rates[side].push(CHANGES / seconds);
      progress(`${metric}: ${side} ${Math.round(CHANGES / seconds)} rows a second`);
    }
  }
  const ratio = medianRatio(rates.ours, rates.theirs);
  return {
    metric,
    unit: 'rows/s',
    ours: Math.round(median(rates.ours)),
    peer: Math.round(median(rates.theirs)),
    peerName: "PostgreSQL 18's subscription",
    ratio: ratio.median,
    spread: [ratio.low, ratio.high],
    bar: renderBar(bar),
    met: meetsBar(bar, ratio.median),
    runs,
    processes: [],
    note: `a backlog of ${CHANGES.toLocaleString('en-US')} transactions of one row`,
  };
}

/**
 * The target as the source was before the backlog, by `origin` and long ago, so that the backlog is later and no conflict; what it
 * changed itself since is later still.
 */
async function reset({ source, target }: Sides, origin: string, conflictingShare: number): Promise<void> {
  const { client } = target;
  await client.query('TRUNCATE rows, marker');
  await client.query('SELECT pg_replication_origin_session_setup($1)', [origin]);
  await client.query('BEGIN');
  await client.query(`SELECT pg_replication_origin_xact_setup('0/1', '2026-01-01')`);
  await client.query(FILL);
  await client.query('COMMIT');
  await client.query('SELECT pg_replication_origin_session_reset()');
  if (conflictingShare > 0)
    await client.query(`UPDATE rows SET status = 'mine' WHERE id % ${Math.round(1 / conflictingShare)} = 0`);
  await client.query('VACUUM ANALYZE rows');
  for (const server of [source, target]) await server.client.query('CHECKPOINT');
}

async function untilThrough(target: BenchServer, signal: AbortSignal): Promise<void> {
  const deadlineMs = performance.now() + TIMEOUT_MS;
  while ((await target.client.query('SELECT FROM marker')).rowCount !== 1) {
    signal.throwIfAborted();
    if (performance.now() > deadlineMs) throw new Error(`The backlog was not applied in ${TIMEOUT_MS} ms.`);
    await delay(POLL_MS);
  }
}

async function check(target: BenchServer, wanted: { readonly mine: number }): Promise<void> {
  const { rows } = await target.client.query<{ shipped: number; mine: number }>(
    `SELECT count(*) FILTER (WHERE status = 'shipped')::int AS shipped, count(*) FILTER (WHERE status = 'mine')::int AS mine FROM rows`,
  );
  const { mine = 0, shipped = 0 } = rows[0] ?? {};
  if (mine !== wanted.mine || shipped === 0)
    throw new Error(`There are ${mine} of the target's own changes, and ${shipped} of the source's.`);
}

/** From when the region is told to start until the last row is there. */
async function applyWithRegion(sides: Sides, share: number, signal: AbortSignal): Promise<number> {
  const { source, target } = sides;
  // A region that is founded at this very moment: what the target is filled with before is no change.
  await target.client.query('DROP SCHEMA IF EXISTS lockstep_regions CASCADE');
  await onceIdle(target, `SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots`);
  await onceIdle(target, `SELECT pg_replication_origin_drop(roname) FROM pg_replication_origin`);
  await target.client.query('SELECT pg_replication_origin_create($1)', [BASE_SLOT]);
  await reset(sides, BASE_SLOT, share);
  await source.client.query('SELECT pg_copy_logical_replication_slot($1, $2)', [BASE_SLOT, nameFor('us')]);
  await prepareRegion(target.client, { name: 'us', names: NAMES, definition: {} });
  const regions = [source, target].map(({ name, url }) => ({ name, url }));
  const region = new Region({ name: 'us', regions });
  const startedAtMs = performance.now();
  await region.start();
  try {
    await untilThrough(target, signal);
    const seconds = (performance.now() - startedAtMs) / 1_000;
    await check(target, { mine: Math.round(ROWS * share) });
    return seconds;
  } finally {
    await region.stop();
    await onceIdle(source, `SELECT pg_drop_replication_slot('${nameFor('us')}')`);
  }
}

/** From when it is enabled; of a row that both changed it takes the source's, and says so in the server's log. */
async function applyWithSubscription(sides: Sides, share: number, signal: AbortSignal): Promise<number> {
  const { source, target } = sides;
  const slot = nameFor('us');
  await source.client.query('SELECT pg_copy_logical_replication_slot($1, $2)', [BASE_SLOT, slot]);
  const { hostname, port, username, password } = new URL(source.url);
  await target.client.query(
    `CREATE SUBSCRIPTION theirs CONNECTION 'host=${hostname} port=${port} user=${username} password=${password} dbname=postgres'
     PUBLICATION ${PUBLICATION} WITH (enabled = false, create_slot = false, copy_data = false, slot_name = '${slot}', streaming = parallel)`,
  );
  const { rows } = await target.client.query<{ origin: string }>(
    `SELECT 'pg_' || oid AS origin FROM pg_subscription WHERE subname = 'theirs'`,
  );
  await reset(sides, rows[0]?.origin ?? '', share);
  const startedAtMs = performance.now();
  await target.client.query('ALTER SUBSCRIPTION theirs ENABLE');
  try {
    await untilThrough(target, signal);
    return (performance.now() - startedAtMs) / 1_000;
  } finally {
    await target.client.query('ALTER SUBSCRIPTION theirs DISABLE');
    await target.client.query('ALTER SUBSCRIPTION theirs SET (slot_name = NONE)');
    await target.client.query('DROP SUBSCRIPTION theirs');
    await onceIdle(source, `SELECT pg_drop_replication_slot('${slot}')`);
  }
}

/** A slot or an origin is let go of a moment after who used it has ended. */
async function onceIdle({ client }: BenchServer, sql: string): Promise<void> {
  for (;;) {
    try {
      await client.query(sql);
      return;
    } catch (error) {
      if ((error as { code?: string }).code !== '55006') throw error;
      await delay(50);
    }
  }
}
