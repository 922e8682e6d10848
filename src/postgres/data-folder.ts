import { execFile } from 'node:child_process';
import { closeSync, constants, openSync, readFileSync, statSync, writeSync } from 'node:fs';
import {
  chmod,
  chown,
  lstat,
  mkdtemp,
  open,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  statfs,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { LockstepError } from '../model/errors.ts';
import { parseTimeline, parseTimelineHistory } from '../model/timeline.ts';
import type { Timeline, TimelineHistory } from '../model/timeline.ts';
import { openPlainFile } from '../host/own-file.ts';
import { createPrivateFolder, removeTree } from './account.ts';
import { raiseTo, readControlFile } from './control-file.ts';
import type { PostgresAccount } from './account.ts';
import type { PostgresBinaries } from './binaries.ts';
import { renderHba, renderSettings, SETTINGS_FILE, SUPERUSER } from './settings.ts';
import type { Access, Settings } from './settings.ts';

const run = promisify(execFile);

/**
 * A promotion writes a whole segment, however little of it is used, and a new leader's followers ask for theirs from its
 * beginning: PostgreSQL's own 16 MB would only lengthen a failover. An archiver is called once a segment.
 */
const WAL_SEGMENT_MB = 4;

/**
 * Runs initdb with data checksums and SCRAM; the folder appears when it is whole. Throws CONFIG_INVALID when
 * it holds anything already, POSTGRES_FAILED with initdb's own words.
 */
export async function createDataFolder(options: {
  readonly binaries: PostgresBinaries;
  readonly account: PostgresAccount | null;
  readonly dataDir: string;
  readonly superuserPassword: string;
}): Promise<void> {
  const { binaries, account, dataDir } = options;
  await assertEmptyFolder(dataDir);
  const unfinished = `${dataDir}.initdb`;
  await removeTree(unfinished, account);
  await createPrivateFolder(unfinished, account);
  const secrets = await mkdtemp(join(tmpdir(), 'lockstep-initdb-'));
  try {
    const passwordFile = join(secrets, 'password');
    await writeFile(passwordFile, `${options.superuserPassword}\n`, { mode: 0o600 });
    if (account !== null) {
      // The folder stays root's: who owns it could put a link in the file's place.
      await chmod(secrets, 0o711);
      await chown(passwordFile, account.uid, account.gid);
    }
    await run(
      join(binaries.binDir, 'initdb'),
      [
        `--pgdata=${unfinished}`,
        `--username=${SUPERUSER}`,
        `--pwfile=${passwordFile}`,
        '--auth=scram-sha-256',
        '--encoding=UTF8',
        ...localeArguments(binaries.major),
        '--data-checksums',
        `--wal-segsize=${WAL_SEGMENT_MB}`,
      ],
      { cwd: '/', ...(account === null ? {} : { uid: account.uid, gid: account.gid }) },
    );
    await rename(unfinished, dataDir);
  } catch (error) {
    await removeTree(unfinished, account);
    const printed = (error as { stderr?: string }).stderr?.trim().split('\n').at(-1) || String(error);
    throw new LockstepError('POSTGRES_FAILED', `initdb could not create ${dataDir}: ${printed}`, {
      cause: error,
    });
  } finally {
    await rm(secrets, { recursive: true, force: true });
  }
}

/** Character order and classes that do not change with the machine's C library, where initdb offers them. */
function localeArguments(major: number): readonly string[] {
  if (major >= 17) return ['--locale=C', '--locale-provider=builtin', '--builtin-locale=C.UTF-8'];
  return [process.platform === 'linux' ? '--locale=C.UTF-8' : '--locale=C'];
}

/** Throws CONFIG_INVALID when the folder exists and holds anything: it may be somebody's data. */
export async function assertEmptyFolder(path: string): Promise<void> {
  const names = await readdir(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return [];
    throw error;
  });
  if (names.length === 0) return;
  throw new LockstepError('CONFIG_INVALID', `${path} is not empty; a data folder needs a place of its own.`, {
    details: { path },
  });
}

/**
 * Replaces Lockstep's settings and pg_hba.conf; a running server takes them with a reload. Settings that a
 * follower must not have below its leader's are raised to what the data folder's own history asks for.
 */
export async function writeSettings(
  dataDir: string,
  account: PostgresAccount | null,
  settings: Settings,
  access: Access,
): Promise<void> {
  await replaceFile(
    join(dataDir, SETTINGS_FILE),
    renderSettings(raiseTo(settings, await readControlFile(dataDir))),
    account,
  );
  includeSettings(join(dataDir, 'postgresql.conf'), account);
  await replaceFile(join(dataDir, 'pg_hba.conf'), renderHba(access), account);
}

/** A link that was put in its place must not lead root's pen elsewhere; without an account it is the user's own. */
function includeSettings(path: string, account: PostgresAccount | null): void {
  const flags = constants.O_RDWR | constants.O_APPEND;
  const file = account === null ? openSync(path, flags) : openPlainFile(path, flags, account.uid);
  try {
    const include = `include_if_exists '${SETTINGS_FILE}'`;
    if (!readFileSync(file, 'utf8').includes(include)) writeSync(file, `\n${include}\n`);
  } finally {
    closeSync(file);
  }
}

/**
 * Writes a file in one step: a crash leaves the old one or the new one. One that has this text already is left
 * alone: a failover waits for these files, and each costs an fsync.
 */
export async function replaceFile(
  path: string,
  text: string,
  account: PostgresAccount | null,
): Promise<void> {
  if (await isWritten(path, text, account)) return;
  const next = `${path}.lockstep`;
  await rm(next, { force: true });
  // The folder belongs to the account: a link planted there must not lead root's pen elsewhere.
  const file = await open(next, 'wx', 0o600);
  try {
    await file.writeFile(text);
    if (account !== null) await file.chown(account.uid, account.gid);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(next, path);
}

async function isWritten(path: string, text: string, account: PostgresAccount | null): Promise<boolean> {
  try {
    const found = await lstat(path);
    const isOurs = found.isFile() && (found.mode & 0o777) === 0o600;
    if (!isOurs || (account !== null && found.uid !== account.uid)) return false;
    return (await readFile(path, 'utf8')) === text;
  } catch {
    return false;
  }
}

/** The cluster's identity; null when there is no data folder. */
export async function readSystemIdentifier(dataDir: string): Promise<string | null> {
  return (await readControlFile(dataDir))?.systemIdentifier ?? null;
}

/** The ancestors of a timeline, from its history file; the first timeline has none. */
export async function readTimelineHistory(dataDir: string, timeline: Timeline): Promise<TimelineHistory> {
  if (timeline === 1) return { timeline, ancestors: [] };
  const text = await readFile(historyFile(dataDir, timeline), 'utf8');
  return parseTimelineHistory(parseTimeline(timeline), text);
}

/**
 * The newest timeline that PostgreSQL counts on from when it is promoted: it takes the first number from its own on
 * that has no history file (findNewestTimeLine in its timeline.c).
 */
export function newestTimeline(dataDir: string, own: Timeline): Timeline {
  let newest = own;
  while (hasHistory(dataDir, parseTimeline(newest + 1))) newest = parseTimeline(newest + 1);
  return newest;
}

/** At once: a promotion waits for it. */
function hasHistory(dataDir: string, timeline: Timeline): boolean {
  return statSync(historyFile(dataDir, timeline), { throwIfNoEntry: false }) !== undefined;
}

function historyFile(dataDir: string, timeline: Timeline): string {
  return join(dataDir, 'pg_wal', `${timeline.toString(16).toUpperCase().padStart(8, '0')}.history`);
}

/** PostgreSQL's major in a data folder, null when there is none. */
export async function readDataVersion(dataDir: string): Promise<number | null> {
  const text = await readFile(join(dataDir, 'PG_VERSION'), 'utf8').catch(() => null);
  return text === null ? null : Number(text.trim());
}

/** Throws CONFIG_INVALID when the file system of `folder` has less than `neededBytes` free. */
export async function assertFreeSpace(folder: string, neededBytes: number): Promise<void> {
  const { bavail, bsize } = await statfs(folder);
  const freeBytes = bavail * bsize;
  if (freeBytes >= neededBytes) return;
  throw new LockstepError(
    'CONFIG_INVALID',
    `${folder} has ${megabytes(freeBytes)} free and ${megabytes(neededBytes)} are needed. Free some space, or put the data elsewhere with --state.`,
    { details: { folder, freeBytes, neededBytes } },
  );
}

/** Whether the path exists. */
export async function isPresent(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

function megabytes(bytes: number): string {
  return `${Math.floor(bytes / 1_048_576)} MB`;
}
