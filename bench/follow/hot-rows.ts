import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import type { ApplyServers, Side } from '../apply/servers.ts';
import { differing, FollowProcess } from './follow-process.ts';

const WRITERS = 4;
const HOT_ROWS = 100;
const POLL_MS = 50;
/** Each wait until it has caught up leaves a message in the stream, which counts as a change. */
const WAITS = 2;

export interface HotRowsResult {
  readonly updates: number;
  /** Updates that did not find their row at the target, by the count of whoever applied them. */
  readonly skipped: number;
  readonly applied: number;
  /** Null where this PostgreSQL does not count them. */
  readonly peerSkipped: number | null;
  readonly differing: readonly string[];
}

/**
 * Several writers that update one hundred rows at the source, each update a transaction of its own, while `lockstep follow`
 * applies them; then once more while PostgreSQL's own subscription does.
 */
export async function runHotRows(
  servers: ApplyServers,
  updates: number,
  signal: AbortSignal,
): Promise<HotRowsResult> {
  const { source, target } = servers;
  const schema = 'CREATE TABLE hot (id int PRIMARY KEY, n bigint NOT NULL, note text)';
  const fill = `INSERT INTO hot SELECT g, 0, 'x' FROM generate_series(1, ${HOT_ROWS}) g`;
  for (const { client } of [source, target]) await client.query(`${schema}; ${fill}`);
  await using follow = await FollowProcess.start(servers, 'hot', ['hot']);
  // What is written before it has made its publication is not published.
  await follow.caughtUp(signal);
  await write(source.url, updates);
  await follow.caughtUp(signal);
  const wrong = await differing(servers, ['hot']);
  const { missingRows, changes } = await follow.stop();
  const peerSkipped = await runPeer(servers, updates, signal);
  return { updates, skipped: missingRows, applied: changes - WAITS, peerSkipped, differing: wrong };
}

async function write(url: string, updates: number): Promise<void> {
  const clients = Array.from({ length: WRITERS }, () => new pg.Client({ connectionString: url }));
  try {
    await Promise.all(
      clients.map(async (client, index) => {
        await client.connect();
        await client.query('SET synchronous_commit = off');
        const share = Math.floor(updates / WRITERS) + (index < updates % WRITERS ? 1 : 0);
        // A volatile function in WHERE would be asked anew for each row.
        await client.query(`DO $$ DECLARE hot_id int; BEGIN FOR i IN 1..${share} LOOP
          hot_id := 1 + floor(random() * ${HOT_ROWS}); UPDATE hot SET n = n + 1 WHERE id = hot_id; COMMIT; END LOOP; END $$`);
      }),
    );
  } finally {
    await Promise.all(clients.map((client) => client.end()));
  }
}

/** PostgreSQL counts what its subscriptions skip since 18. */
async function runPeer(servers: ApplyServers, updates: number, signal: AbortSignal): Promise<number | null> {
  if (servers.major < 18) return null;
  const { source, target } = servers;
  await target.client.query('CREATE DATABASE peer');
  const peer = new pg.Client({ connectionString: target.url.replace(/[^/]+$/, 'peer') });
  await peer.connect();
  try {
    await source.client.query(
      'CREATE TABLE hot_done (id int PRIMARY KEY); CREATE PUBLICATION peer FOR TABLE hot, hot_done',
    );
    await peer.query(
      'CREATE TABLE hot (id int PRIMARY KEY, n bigint NOT NULL, note text); CREATE TABLE hot_done (id int PRIMARY KEY)',
    );
    await peer.query(
      `CREATE SUBSCRIPTION peer CONNECTION '${connInfo(source)}' PUBLICATION peer WITH (streaming = parallel)`,
    );
    const isTrue = async (text: string): Promise<boolean> => (await peer.query(text)).rows[0].yes === true;
    await until(() => isTrue(`SELECT bool_and(srsubstate = 'r') AS yes FROM pg_subscription_rel`), signal);
    await write(source.url, updates);
    await source.client.query('INSERT INTO hot_done VALUES (1)');
    await until(() => isTrue('SELECT count(*) = 1 AS yes FROM hot_done'), signal);
    // The worker reports its statistics when it is idle, and at its end.
    await peer.query('ALTER SUBSCRIPTION peer DISABLE');
    await until(
      () => isTrue(`SELECT count(*) = 0 AS yes FROM pg_stat_subscription WHERE pid IS NOT NULL`),
      signal,
    );
    const { rows } = await peer.query(
      'SELECT confl_update_missing::text AS n FROM pg_stat_subscription_stats',
    );
    return Number(rows[0].n);
  } finally {
    await peer.query('DROP SUBSCRIPTION IF EXISTS peer').catch(() => undefined);
    await peer.end();
  }
}

async function until(isSo: () => Promise<boolean>, signal: AbortSignal): Promise<void> {
  while (!(await isSo())) {
    signal.throwIfAborted();
    await delay(POLL_MS);
  }
}

function connInfo({ url }: Side): string {
  const { hostname, port, username, password, pathname } = new URL(url);
  return `host=${hostname} port=${port} user=${username} password=${password} dbname=${pathname.slice(1)}`;
}
