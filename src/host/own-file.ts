import { closeSync, constants, fchmodSync, fstatSync, openSync } from 'node:fs';
import { LockstepError } from '../model/errors.ts';

/**
 * Opens a file that this user keeps for itself, mode 0600, as {@link openPlainFile} does. `flags` are those of open(2); the
 * file is made where they say so.
 */
export function openOwnFile(path: string, flags: number): number {
  const file = openPlainFile(path, flags, process.geteuid?.() ?? null);
  try {
    if ((fstatSync(file).mode & 0o777) !== 0o600) fchmodSync(file, 0o600);
    return file;
  } catch (error) {
    closeSync(file);
    throw error;
  }
}

/**
 * Opens a file of user `owner` (null: of anybody) where others may have put something else in its place, as root does in a
 * folder that is not root's alone: no link is followed, and what is no plain file, or has a second name, is refused. Throws
 * CONFIG_INVALID for these, and the system's error for anything else.
 */
export function openPlainFile(path: string, flags: number, owner: number | null): number {
  // Not to wait for the other end of a pipe; plain files do not care.
  const safe = flags | constants.O_NOFOLLOW | constants.O_NONBLOCK;
  let file: number;
  try {
    file = openSync(path, safe, 0o600);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ELOOP' || code === 'EMLINK') throw notOwn(path, 'a symbolic link');
    if (code === 'ENXIO') throw notOwn(path, 'a pipe or a device');
    throw error;
  }
  try {
    const found = fstatSync(file);
    if (!found.isFile()) throw notOwn(path, 'no plain file');
    if (found.nlink > 1) throw notOwn(path, 'a file with a second name');
    if (owner !== null && found.uid !== owner) throw notOwned(path, found.uid, owner);
    return file;
  } catch (error) {
    closeSync(file);
    throw error;
  }
}

function notOwn(path: string, what: string): LockstepError {
  return new LockstepError(
    'CONFIG_INVALID',
    `Look at ${path} and move it away: it is ${what}, where a file of its own is expected. Nothing was read or written.`,
    { details: { path } },
  );
}

function notOwned(path: string, uid: number, owner: number): LockstepError {
  return new LockstepError(
    'CONFIG_INVALID',
    `Look at ${path}: it belongs to user ${uid}, where only user ${owner} may write. If it was copied there, give it to that user (chown); else move it away. Nothing was read or written.`,
    { details: { path } },
  );
}
