// Plain JavaScript for whatever Node.js the machine has: it installs what package-lock.json says when that
// was not done yet, and gives the paths of the pinned Node.js.
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = fileURLToPath(new URL('..', import.meta.url));
export const pinnedNode = `${root}node_modules/node/bin/node`;

/** Node.js keeps what it made of the sources: half of the time in which a program here starts. */
export const environment = { NODE_COMPILE_CACHE: `${root}node_modules/.cache/node`, ...process.env };

/** Whether a folder's node_modules was installed from its present package-lock.json. */
function isInstalled(folder) {
  const marker = `${folder}node_modules/.package-lock.json`;
  if (!existsSync(marker)) return false;
  return statSync(marker).mtimeMs >= statSync(`${folder}package-lock.json`).mtimeMs || isSameLock(folder);
}

/** A fresh checkout gives files new times; what counts is that every package is there in the locked version. */
function isSameLock(folder) {
  const read = (path) => JSON.parse(readFileSync(`${folder}${path}`, 'utf8')).packages;
  const installed = read('node_modules/.package-lock.json');
  const locked = read('package-lock.json');
  return (
    Object.entries(installed).every(([name, entry]) => locked[name]?.version === entry.version) &&
    // Packages for other platforms are optional, and those that an optional one brings are too.
    Object.entries(locked).every(([name, entry]) => name === '' || entry.optional || name in installed)
  );
}

/** Ends the process with a clear sentence when it fails. */
function install(folder, notice) {
  process.stderr.write(`${notice}\n`);
  // Not "npm ci": it refuses a lock without the builds for platforms that a registry mirror does not carry.
  const npm = spawnSync('npm', ['install', '--no-save', '--no-audit', '--no-fund', '--loglevel=error'], {
    cwd: folder,
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  if (npm.status === 0) return;
  process.stderr.write(
    `npm install in ${folder} did not succeed. See what it said above, then run this again.\n`,
  );
  process.exit(1);
}

/** Installs the dependencies unless they are there. Ends the process with a clear sentence when it fails. */
export function ensureInstalled() {
  if (existsSync(pinnedNode) && isInstalled(root)) return;
  install(root, 'Installing dependencies (only the first time)…');
  if (existsSync(pinnedNode)) return;
  process.stderr.write(`npm install did not bring ${pinnedNode}; allow the script of the package "node".\n`);
  process.exit(1);
}

/** The same for the libraries of the compat tests, which nothing else needs. They use the root's `pg`. */
export function ensureCompatInstalled() {
  const folder = `${root}test/compat/`;
  if (!isInstalled(folder)) install(folder, 'Installing the libraries of the compat tests (only once)…');
}

/**
 * etcd for the tests that need a real one: installed as root on a machine with apt-get. Elsewhere those tests
 * are skipped, and this says so.
 */
export function ensureEtcd() {
  if (process.env.LOCKSTEP_TEST_ETCD || ['etcd', 'etcdctl'].every(isOnPath)) return;
  if (process.getuid?.() === 0 && isOnPath('apt-get')) {
    process.stderr.write('Installing etcd for the tests that need it (only once)…\n');
    const apt = (...args) =>
      spawnSync('apt-get', args, {
        stdio: ['ignore', 'ignore', 'inherit'],
        // The tests start their own: no service needs to run.
        env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive', RUNLEVEL: '1' },
      }).status === 0;
    const install = () =>
      apt('install', '-y', '-qq', '--no-install-recommends', 'etcd-server', 'etcd-client');
    if (install() || (apt('update', '-qq') && install())) return;
  }
  process.stderr.write(
    'There is no etcd, so the tests that need one are skipped. Install it (Debian: apt-get install etcd-server etcd-client).\n',
  );
}

function isOnPath(program) {
  return (process.env.PATH ?? '').split(delimiter).some((folder) => existsSync(join(folder, program)));
}
