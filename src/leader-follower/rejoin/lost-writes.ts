import { constants, createReadStream, createWriteStream } from 'node:fs';
import { mkdir, open, readdir, readFile, rename, rm, stat, statfs, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import type { Clock } from '../../model/clock.ts';
import type pg from 'pg';
import { formatLsn } from '../../model/lsn.ts';
import type { NodeId } from '../../model/node.ts';
import type { TimelineHistory } from '../../model/timeline.ts';
import type { PostgresAccount } from '../../postgres/account.ts';
import type { PostgresBinaries } from '../../postgres/binaries.ts';
import { isPresent } from '../../postgres/data-folder.ts';
import { readLog } from '../../postgres/copy/waldump.ts';
import { openPlainFile } from '../../host/own-file.ts';
import { LogReading, piecesOf, segmentNames, surplusOf } from './core/lost-writes.ts';
import type { LogPiece, SavedLog } from './core/lost-writes.ts';
import type { LostLog } from '../core/rejoin.ts';
import { readLostRows } from './lost-rows.ts';

/** How much is kept of all losses of a node together, and of one of them. */
const KEPT: { readonly count: number; readonly bytes: number } = { count: 10, bytes: 2 * 2 ** 30 };
const MAX_LOG_BYTES = 1 * 2 ** 30;
/** What must stay free on the disk, for PostgreSQL itself. */
const SPARE_BYTES = 256 * 2 ** 20;
/** A rejoin waits no longer for the listing, nor for the rows. */
const LISTING_TIMEOUT_MS = 20_000;
const ROWS_TIMEOUT_MS = 10_000;
const LOST_FOLDER = 'lost';

export interface LostWritesOptions {
  readonly clock: Clock;
  readonly node: NodeId;
  /** The node's folder. */
  readonly folder: string;
  readonly dataDir: string;
  readonly binaries: PostgresBinaries;
  readonly account: PostgresAccount | null;
  readonly lost: LostLog;
  readonly history: TimelineHistory;
  /** The term in which the leader that is rejoined leads. */
  readonly term: number;
  /** A connection to this node's PostgreSQL, which still shows the lost rows. */
  readonly withClient: <T>(task: (client: pg.Client) => Promise<T>, database?: string) => Promise<T>;
}

export type LostWrites =
  /** Nothing committed there, or it was put aside before: there is nothing to save. */
  | { readonly kind: 'none' }
  | { readonly kind: 'saved'; readonly message: string; readonly removed: readonly string[] }
  | { readonly kind: 'failed'; readonly reason: string };

/**
 * Puts aside what this node committed past the fork, before a rewind or a new copy takes it away:
 * `lost/<timeline>-<fork>-<end>/` holds the log's segments, `manifest.json`, and, where PostgreSQL ships
 * pg_waldump, `commits.txt` and the rows that PostgreSQL still shows (`rows.jsonl`). Never throws, and takes
 * no longer than about a minute: a rejoin must not depend on it.
 */
export async function saveLostWrites(options: LostWritesOptions): Promise<LostWrites> {
  const root = join(options.folder, LOST_FOLDER);
  const { fork, endLsn } = options.lost;
  const name = [fork.timeline, formatLsn(fork.forkedAt), formatLsn(endLsn)].join('-').replaceAll('/', '_');
  const target = join(root, name);
  const partial = join(root, `${name}.partial`);
  try {
    // An earlier attempt at this rejoin was cut off after it.
    if (await isPresent(target)) return { kind: 'none' };
    const reading = await listTransactions(options);
    if (reading?.isWhole === true && reading.log.isFreeOfCommits) return { kind: 'none' };
    await mkdir(root, { recursive: true, mode: 0o700 });
    await rm(partial, { recursive: true, force: true });
    await mkdir(partial, { mode: 0o700 });
    const summary = await fill(partial, options, reading?.log ?? null);
    await rename(partial, target);
    const removed = await removeSurplus(root);
    return { kind: 'saved', message: `${summary} ${target}`, removed };
  } catch (error) {
    await rm(partial, { recursive: true, force: true }).catch(() => undefined);
    return { kind: 'failed', reason: (error as Error).message };
  }
}

async function listTransactions(
  options: LostWritesOptions,
): Promise<{ readonly log: LogReading; readonly isWhole: boolean } | null> {
  const { pgWaldump } = options.binaries;
  if (pgWaldump === null) return null;
  const log = new LogReading();
  let isWhole = true;
  const deadlineMs = options.clock.nowMs() + LISTING_TIMEOUT_MS;
  for (const piece of piecesOf(options.lost, options.history)) {
    isWhole &&= await readLog({
      ...piece,
      pgWaldump,
      account: options.account,
      folder: join(options.dataDir, 'pg_wal'),
      resourceManagers: ['Transaction', 'Heap', 'Heap2'],
      timeoutMs: Math.max(1, Math.ceil(deadlineMs - options.clock.nowMs())),
      onLine: (line) => log.add(line),
    });
  }
  return { log, isWhole };
}

/** Writes everything into the folder; the manifest comes last. Returns what it holds, in words. */
async function fill(folder: string, options: LostWritesOptions, log: LogReading | null): Promise<string> {
  const { lost, history, node, term } = options;
  const segments = await copySegments(folder, options, piecesOf(lost, history));
  const rows =
    log === null || log.transactions.length === 0
      ? null
      : await readLostRows({
          log,
          withClient: options.withClient,
          clock: options.clock,
          timeoutMs: ROWS_TIMEOUT_MS,
        });
  const commits = log?.transactions.filter(({ kind }) => kind === 'commit') ?? null;
  if (log !== null) {
    const lines = log.transactions.map(({ at, lsn, xid, kind }) => `${at}  ${lsn}  xid ${xid}  ${kind}\n`);
    await writeFile(join(folder, 'commits.txt'), lines.join(''), { mode: 0o600 });
  }
  if (rows !== null) {
    const lines = rows.rows.map(
      ({ table, xid, json }) => `{"table":${JSON.stringify(table)},"xid":${xid},"row":${json}}\n`,
    );
    await writeFile(join(folder, 'rows.jsonl'), lines.join(''), { mode: 0o600 });
  }
  const manifest = {
    node,
    rejoinedInTerm: term,
    timeline: lost.fork.timeline,
    forkLsn: formatLsn(lost.fork.forkedAt),
    endLsn: formatLsn(lost.endLsn),
    endTimeline: history.timeline,
    bytes: Number(lost.endLsn - lost.fork.forkedAt),
    savedAt: new Date().toISOString(),
    postgres: options.binaries.version,
    segments: segments.saved,
    missingSegments: segments.missing,
    commits: commits?.length ?? null,
    firstCommitAt: commits?.[0]?.at ?? null,
    lastCommitAt: commits?.at(-1)?.at ?? null,
    prepared: log === null ? null : log.transactions.length - (commits?.length ?? 0),
    tables: rows?.tables ?? null,
    rowsSaved: rows?.rows.length ?? null,
    rowsCutOff: rows?.isCutOff ?? null,
  };
  await writeDurably(join(folder, 'manifest.json'), `${JSON.stringify(manifest, null, 2)}\n`);
  const counted = commits === null ? 'the log' : `${commits.length} commits`;
  const gaps = segments.missing.length === 0 ? '' : ` (${segments.missing.length} segments missing)`;
  return `${counted} past ${manifest.forkLsn} on timeline ${lost.fork.timeline}${gaps}, which the leader does not have, put aside in`;
}

/** Copies, because pg_rewind and PostgreSQL write into the files themselves. */
async function copySegments(
  folder: string,
  { dataDir, account }: LostWritesOptions,
  pieces: readonly LogPiece[],
): Promise<{ readonly saved: readonly string[]; readonly missing: readonly string[] }> {
  const walDir = join(dataDir, 'pg_wal');
  const present = new Set(await readdir(walDir));
  const sample = [...present].find((name) => /^[0-9A-F]{24}$/.test(name));
  if (sample === undefined) throw new Error(`${walDir} holds no log`);
  const { size } = await stat(join(walDir, sample));
  const { bavail, bsize } = await statfs(folder);
  const room = Math.min(MAX_LOG_BYTES, bavail * bsize - SPARE_BYTES);
  const saved: string[] = [];
  const missing: string[] = [];
  for (const name of pieces.flatMap((piece) => segmentNames(piece, size))) {
    const fits = (saved.length + 1) * size <= room;
    if (!fits || !present.has(name)) missing.push(name);
    else {
      await copyLogFile(join(walDir, name), join(folder, name), account);
      saved.push(name);
    }
  }
  for (const name of present) {
    if (name.endsWith('.history')) await copyLogFile(join(walDir, name), join(folder, name), account);
  }
  return { saved, missing };
}

/** A link in PostgreSQL's folder must not have root copy what PostgreSQL's user may not read. */
async function copyLogFile(from: string, to: string, account: PostgresAccount | null): Promise<void> {
  const fd = openPlainFile(from, constants.O_RDONLY, account?.uid ?? null);
  await pipeline(createReadStream(from, { fd }), createWriteStream(to, { flags: 'wx', mode: 0o600 }));
  await writeThrough(to);
}

async function removeSurplus(root: string): Promise<readonly string[]> {
  const saved: SavedLog[] = [];
  for (const name of await readdir(root)) {
    const path = join(root, name);
    const manifest = await readFile(join(path, 'manifest.json'), 'utf8').catch(() => null);
    if (manifest === null) continue;
    const sizes = await Promise.all((await readdir(path)).map(async (file) => stat(join(path, file))));
    saved.push({
      name: path,
      bytes: sizes.reduce((sum, { size }) => sum + size, 0),
      savedAtMs: Date.parse((JSON.parse(manifest) as { savedAt: string }).savedAt),
    });
  }
  const surplus = surplusOf(saved, KEPT);
  for (const { name } of surplus) await rm(name, { recursive: true, force: true });
  return surplus.map(({ name }) => name);
}

async function writeDurably(path: string, text: string): Promise<void> {
  await writeFile(path, text, { mode: 0o600 });
  await writeThrough(path);
}

async function writeThrough(path: string): Promise<void> {
  const file = await open(path, 'r');
  try {
    await file.sync();
  } finally {
    await file.close();
  }
}
