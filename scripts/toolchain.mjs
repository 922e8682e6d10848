// Plain JavaScript for whatever Node.js the machine has: it installs what package-lock.json says when that
// was not done yet, and gives the paths of the pinned Node.js.
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

export const root = fileURLToPath(new URL('..', import.meta.url));
export const pinnedNode = `${root}node_modules/node/bin/node`;

/** Whether node_modules was installed from the present package-lock.json. */
function isInstalled() {
  const marker = `${root}node_modules/.package-lock.json`;
  if (!existsSync(marker) || !existsSync(pinnedNode)) return false;
  return statSync(marker).mtimeMs >= statSync(`${root}package-lock.json`).mtimeMs || isSameLock(marker);
}

/** A fresh checkout gives files new times; what counts is that every package has the locked version. */
function isSameLock(marker) {
  const installed = JSON.parse(readFileSync(marker, 'utf8')).packages;
  const locked = JSON.parse(readFileSync(`${root}package-lock.json`, 'utf8')).packages;
  return Object.entries(installed).every(([name, entry]) => locked[name]?.version === entry.version);
}

/** Installs the dependencies unless they are there. Ends the process with a clear sentence when it fails. */
export function ensureInstalled() {
  if (isInstalled()) return;
  process.stderr.write('Installing dependencies (only the first time)…\n');
  // Not "npm ci": it refuses a lock without the builds for platforms that a registry mirror does not carry.
  const npm = spawnSync('npm', ['install', '--no-save', '--no-audit', '--no-fund', '--loglevel=error'], {
    cwd: root,
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  if (npm.status !== 0 || !existsSync(pinnedNode)) {
    process.stderr.write('npm install did not succeed. See what it said above, then run this again.\n');
    process.exit(1);
  }
}
