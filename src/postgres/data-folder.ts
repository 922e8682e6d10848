import { execFile } from 'node:child_process';
import { chown, mkdtemp, open, readFile, rename, rm, stat, statfs, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { LockstepError } from '../model/errors.ts';
import { parseTimeline, parseTimelineHistory } from '../model/timeline.ts';
import type { Timeline, TimelineHistory } from '../model/timeline.ts';
import { createPrivateFolder } from './account.ts';
import type { PostgresAccount } from './account.ts';
import type { PostgresBinaries } from './binaries.ts';
import { renderHba, renderSettings, SETTINGS_FILE, SUPERUSER } from './settings.ts';
import type { Settings } from './settings.ts';

const run = promisify(execFile);

/** Runs initdb with data checksums and SCRAM. Throws POSTGRES_FAILED with initdb's own words. */
export async function createDataFolder(options: {
  readonly binaries: PostgresBinaries;
  readonly account: PostgresAccount | null;
  readonly dataDir: string;
  readonly superuserPassword: string;
}): Promise<void> {
  const { binaries, account, dataDir } = options;
  await createPrivateFolder(dataDir, account);
  const secrets = await mkdtemp(join(tmpdir(), 'lockstep-initdb-'));
  try {
    const passwordFile = join(secrets, 'password');
    await writeFile(passwordFile, `${options.superuserPassword}\n`, { mode: 0o600 });
    if (account !== null) {
      await chown(secrets, account.uid, account.gid);
      await chown(passwordFile, account.uid, account.gid);
    }
    await run(
      join(binaries.binDir, 'initdb'),
      [
        `--pgdata=${dataDir}`,
        `--username=${SUPERUSER}`,
        `--pwfile=${passwordFile}`,
        '--auth=scram-sha-256',
        '--encoding=UTF8',
        '--locale=C.UTF-8',
        '--data-checksums',
      ],
      { cwd: '/', ...(account === null ? {} : { uid: account.uid, gid: account.gid }) },
    );
  } catch (error) {
    await rm(dataDir, { recursive: true, force: true });
    const printed = (error as { stderr?: string }).stderr?.trim().split('\n').at(-1) ?? String(error);
    throw new LockstepError('POSTGRES_FAILED', `initdb could not create ${dataDir}: ${printed}`, { cause: error });
  } finally {
    await rm(secrets, { recursive: true, force: true });
  }
  const configuration = await open(join(dataDir, 'postgresql.conf'), 'a');
  await configuration.writeFile(`\ninclude_if_exists '${SETTINGS_FILE}'\n`);
  await configuration.close();
}

/** Replaces Lockstep's settings and pg_hba.conf; a running server takes them with a reload. */
export async function writeSettings(
  dataDir: string,
  account: PostgresAccount | null,
  settings: Settings,
  networks: readonly string[],
): Promise<void> {
  await replaceFile(join(dataDir, SETTINGS_FILE), renderSettings(settings), account);
  await replaceFile(join(dataDir, 'pg_hba.conf'), renderHba(networks), account);
}

/** Writes a file in one step: a crash leaves the old one or the new one. */
export async function replaceFile(path: string, text: string, account: PostgresAccount | null): Promise<void> {
  const next = `${path}.lockstep`;
  const file = await open(next, 'w', 0o600);
  await file.writeFile(text);
  await file.sync();
  await file.close();
  if (account !== null) await chown(next, account.uid, account.gid);
  await rename(next, path);
}

/**
 * The cluster's identity: the first eight bytes of global/pg_control, in every supported version
 * (src/include/catalog/pg_control.h). Null when there is no data folder. As text: it exceeds 2^53.
 */
export async function readSystemIdentifier(dataDir: string): Promise<string | null> {
  try {
    const control = await readFile(join(dataDir, 'global', 'pg_control'));
    return control.readBigUInt64LE(0).toString();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
}

/** The ancestors of a timeline, from its history file; the first timeline has none. */
export async function readTimelineHistory(dataDir: string, timeline: Timeline): Promise<TimelineHistory> {
  if (timeline === 1) return { timeline, ancestors: [] };
  const name = `${timeline.toString(16).toUpperCase().padStart(8, '0')}.history`;
  const text = await readFile(join(dataDir, 'pg_wal', name), 'utf8');
  return parseTimelineHistory(parseTimeline(timeline), text);
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
