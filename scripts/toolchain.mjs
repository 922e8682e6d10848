// Plain JavaScript for whatever Node.js the machine has: it installs what package-lock.json says when that
// was not done yet, and gives the paths of the pinned Node.js.
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

export const root = fileURLToPath(new URL('..', import.meta.url));
export const pinnedNode = `${root}node_modules/node/bin/node`;

/** Whether a folder's node_modules was installed from its present package-lock.json. */
function isInstalled(folder) {
  const marker = `${folder}node_modules/.package-lock.json`;
  if (!existsSync(marker)) return false;
  return statSync(marker).mtimeMs >= statSync(`${folder}package-lock.json`).mtimeMs || isSameLock(folder);
}

/** A fresh checkout gives files new times; what counts is that every package has the locked version. */
function isSameLock(folder) {
  const read = (path) => JSON.parse(readFileSync(`${folder}${path}`, 'utf8')).packages;
  const installed = read('node_modules/.package-lock.json');
  const locked = read('package-lock.json');
  return Object.entries(installed).every(([name, entry]) => locked[name]?.version === entry.version);
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
