import { spawnSync } from 'node:child_process';
import { closeSync, constants, ftruncateSync, readFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { LockstepError } from '../model/errors.ts';
import { openOwnFile } from './own-file.ts';

/** `open` takes the lock itself there; the number is from macOS' and the BSDs' fcntl.h. */
const O_EXLOCK = 0x20;
const HAS_EXLOCK: boolean = ['darwin', 'freebsd', 'openbsd', 'netbsd'].includes(process.platform);

/** A folder that no other process may take before this one lets go or ends. */
export interface FolderLock {
  release(): void;
}

/**
 * Takes a folder for this process alone, by flock(2) on the file `lock` in it. The kernel lets it go when the process ends,
 * however that happens; a number in a file would outlive it. Null when another process has it.
 *
 * Node.js has no flock: on Linux the `flock` of util-linux or busybox is handed the open file. The lock belongs to that and
 * not to a process, so that it stays here when the program has ended. Children of this process do not inherit it. Throws
 * CONFIG_INVALID without that program, and when `lock` is no plain file of this user.
 */
export function tryLockFolder(folder: string): FolderLock | null {
  const path = join(folder, 'lock');
  const file = HAS_EXLOCK ? openLocked(path) : openOwnFile(path, constants.O_RDWR | constants.O_CREAT);
  if (file === null) return null;
  if (!HAS_EXLOCK && !isTakenByFlock(file, path)) {
    closeSync(file);
    return null;
  }
  try {
    // For people: who has it is up to the kernel.
    ftruncateSync(file);
    writeSync(file, `${process.pid}\n`);
  } catch {
    // The disk is full.
  }
  return { release: () => closeSync(file) };
}

/** The process that took the lock last, for a message; null when that cannot be told. */
export function readLockHolder(folder: string): number | null {
  try {
    const pid = Number(readFileSync(join(folder, 'lock'), 'utf8'));
    return Number.isInteger(pid) && pid > 0 ? pid : null;
  } catch {
    return null;
  }
}

function openLocked(path: string): number | null {
  try {
    return openOwnFile(path, constants.O_RDWR | constants.O_CREAT | O_EXLOCK);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EAGAIN') return null;
    throw error;
  }
}

function isTakenByFlock(file: number, path: string): boolean {
  const words = ['-x', '-n', '3'];
  const { status, error, stderr } = spawnSync('flock', words, {
    stdio: ['ignore', 'ignore', 'pipe', file],
    encoding: 'utf8',
  });
  if (status === 0) return true;
  // Both util-linux and busybox exit with 1 and say nothing when it is held.
  if (status === 1 && stderr === '') return false;
  const reason = error?.message ?? (stderr.trim() || `it ended with code ${status}`);
  throw new LockstepError(
    'CONFIG_INVALID',
    `Install the program "flock" (package util-linux), which keeps a second process away from ${path}: ${reason}.`,
    { cause: error },
  );
}
