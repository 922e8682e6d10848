import { spawnSync } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { removeFollow } from '../../src/logical/follow/registry.ts';
import { ensureOwnSchema } from '../../src/logical/apply/own-schema.ts';
import { dropSlot } from '../../src/logical/slots.ts';
import { firstSlot } from '../../src/logical/follow/core/slot-name.ts';
import type { ApplyServers } from '../apply/servers.ts';
import { findProgram, PGCOPYDB } from '../peers/programs.ts';
import { differing, FollowProcess } from './follow-process.ts';

const TABLES: readonly string[] = ['copy_a', 'copy_b', 'copy_c', 'copy_d'];
/** Of either side. */
const JOBS = 2;
const POLL_MS = 50;
const MB = 1_048_576;

export interface CopyResult {
  readonly megabytes: number;
  readonly rows: number;
  readonly seconds: number;
  /** Null without pgcopydb on this machine. */
  readonly peerSeconds: number | null;
  readonly differing: readonly string[];
}

export interface ResumedCopyResult {
  readonly rows: number;
  /** What was at the target when the copy was killed, and how much of it the next one wrote once more. */
  readonly rowsAtKill: number;
  readonly rowsAgain: number;
  readonly differing: readonly string[];
}

/** Copies four tables with pgcopydb, and then with `lockstep follow`. */
export async function runCopy(servers: ApplyServers, rows: number, signal: AbortSignal): Promise<CopyResult> {
  await fill(servers, rows);
  const peer = findProgram(PGCOPYDB);
  await empty(servers);
  const peerSeconds = peer === null ? null : await copyWithPgcopydb(peer, servers);
  signal.throwIfAborted();
  await empty(servers);
  const seconds = await copyWithLockstep(servers);
  const sizes = await servers.source.client.query(
    `SELECT sum(pg_table_size(name::regclass))::text AS bytes FROM unnest($1::text[]) name`,
    [TABLES],
  );
  const megabytes = Number(sizes.rows[0].bytes) / MB;
  return { megabytes, rows, seconds, peerSeconds, differing: await differing(servers, TABLES) };
}

/** A copy that is killed (`kill -9`) once half of the rows are there, and the same command again. */
export async function runResumedCopy(
  servers: ApplyServers,
  rows: number,
  signal: AbortSignal,
): Promise<ResumedCopyResult> {
  await fill(servers, rows);
  const resumed = await resume(servers, rows, signal);
  return { rows, ...resumed, differing: await differing(servers, TABLES) };
}

async function fill({ source, target }: ApplyServers, rows: number): Promise<void> {
  const columns =
    'id bigint NOT NULL, customer_id int NOT NULL, status text NOT NULL, note text, updated_at timestamptz NOT NULL';
  const each = Math.round(rows / TABLES.length);
  for (const table of TABLES) {
    await target.client.query(`CREATE TABLE ${table} (${columns}, PRIMARY KEY (id))`);
    await source.client.query(`CREATE TABLE ${table} (${columns});
      INSERT INTO ${table} SELECT g, g % 50000, 'paid', rpad(md5(g::text), 60, 'x'), now() FROM generate_series(1, ${each}) g;
      ALTER TABLE ${table} ADD PRIMARY KEY (id)`);
    await source.client.query(`VACUUM ANALYZE ${table}`);
  }
}

async function empty({ source, target }: ApplyServers): Promise<void> {
  await ensureOwnSchema(target.client);
  await removeFollow(target.client, 'copy');
  await dropSlot(source.client, firstSlot('copy'));
  await target.client.query(`TRUNCATE ${TABLES.join()}`);
  for (const { client } of [source, target]) await client.query('CHECKPOINT');
}

function startFollow(servers: ApplyServers): FollowProcess {
  return FollowProcess.spawn(servers, 'copy', TABLES, ['--jobs', String(JOBS), '--until-caught-up']);
}

async function copyWithLockstep(servers: ApplyServers): Promise<number> {
  const startedAtMs = performance.now();
  await using follow = startFollow(servers);
  await follow.ended();
  return (performance.now() - startedAtMs) / 1_000;
}

/** It copies all tables of the database: those of the follow's own schema are at the target alone. */
async function copyWithPgcopydb(program: string, { source, target }: ApplyServers): Promise<number> {
  const folder = await mkdtemp(join(tmpdir(), 'lockstep-pgcopydb-'));
  try {
    const ends = ['--source', source.url, '--target', target.url, '--dir', join(folder, 'work')];
    const startedAtMs = performance.now();
    const args = ['copy', 'table-data', ...ends, '--table-jobs', String(JOBS), '--not-consistent'];
    const { status, stderr } = spawnSync(program, args, { encoding: 'utf8' });
    const seconds = (performance.now() - startedAtMs) / 1_000;
    if (status !== 0) throw new Error(`pgcopydb did not succeed: ${stderr.slice(-2_000)}`);
    return seconds;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function resume(
  servers: ApplyServers,
  rows: number,
  signal: AbortSignal,
): Promise<{ readonly rowsAtKill: number; readonly rowsAgain: number }> {
  await empty(servers);
  const { client } = servers.target;
  const count = async (condition: string): Promise<number> => {
    const texts = TABLES.map((table) => `SELECT count(*) AS n FROM ${table} WHERE ${condition}`);
    const { rows: found } = await client.query(
      `SELECT sum(n)::text AS n FROM (${texts.join(' UNION ALL ')}) s`,
    );
    return Number(found[0].n);
  };
  {
    await using _killed = startFollow(servers);
    while ((await estimate(servers)) < rows / 2) {
      signal.throwIfAborted();
      await delay(POLL_MS);
    }
  }
  const { rows: next } = await client.query(`SELECT pg_current_xact_id()::text AS xid`);
  // A session that the kill has left may commit what it has already.
  await untilAlone(servers, signal);
  const rowsAtKill = await count('true');
  {
    await using follow = startFollow(servers);
    await follow.ended();
  }
  const kept = await count(`xmin::text::bigint < ${next[0].xid}`);
  return { rowsAtKill, rowsAgain: rowsAtKill - kept };
}

/** By the size of the tables: a count would take its time. */
async function estimate({ source, target }: ApplyServers): Promise<number> {
  const [here, there] = await Promise.all(
    [source, target].map(async ({ client }) => {
      const { rows } = await client.query(
        `SELECT sum(pg_relation_size(name::regclass))::text AS bytes FROM unnest($1::text[]) name`,
        [TABLES],
      );
      return Number(rows[0].bytes);
    }),
  );
  const { rows } = await source.client.query(
    `SELECT sum(reltuples)::text AS n FROM pg_class WHERE relname = ANY ($1)`,
    [TABLES],
  );
  return (Number(rows[0].n) * (there ?? 0)) / (here ?? 1);
}

async function untilAlone({ target }: ApplyServers, signal: AbortSignal): Promise<void> {
  for (;;) {
    signal.throwIfAborted();
    const { rowCount } = await target.client.query(
      `SELECT FROM pg_stat_activity WHERE application_name LIKE 'lockstep follow copy%'`,
    );
    if (rowCount === 0) return;
    await delay(POLL_MS);
  }
}
