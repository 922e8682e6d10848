import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { codeOf, LockstepError } from '../model/errors.ts';
import { findPassword } from './core/pass-file.ts';
import type { PassFileKey } from './core/pass-file.ts';

const MAX_BYTES = 1_000_000;

/** Whether pg would take a password for this server from PGPASSFILE or ~/.pgpass; of one too large to look through, it may. */
export function isInPassFile(key: PassFileKey): boolean {
  const path = process.env['PGPASSFILE'] ?? join(homedir(), '.pgpass');
  try {
    const file = readPassFile(path);
    return file === 'too large' || (file !== 'no file' && findPassword(file.text, key) !== null);
  } catch {
    return false;
  }
}

/**
 * The password for a server in the pass file that the parameter `passfile` of a URL names; null where it has none. Throws
 * CONFIG_INVALID for one that cannot be read, or that others may read.
 */
export function passwordFrom(path: string, key: PassFileKey): string | null {
  let file: ReturnType<typeof readPassFile>;
  try {
    file = readPassFile(path);
  } catch (error) {
    throw new LockstepError(
      'CONFIG_INVALID',
      `Name a pass file that can be read here: passfile "${path}" in the URL cannot (${codeOf(error)}).`,
      { cause: error },
    );
  }
  if (typeof file === 'string') {
    const fault = file === 'no file' ? 'no regular file' : 'larger';
    throw new LockstepError(
      'CONFIG_INVALID',
      `Name a regular file of at most ${MAX_BYTES} bytes: passfile "${path}" in the URL is ${fault}.`,
    );
  }
  if ((file.mode & 0o077) === 0) return findPassword(file.text, key);
  throw new LockstepError(
    'CONFIG_INVALID',
    `Run chmod 600 on ${path}, which the URL names as passfile: others may read the passwords in it.`,
  );
}

/** What is looked at is what is read, and a pipe, which would hold up the whole process, is not waited for. */
function readPassFile(path: string): { text: string; mode: number } | 'no file' | 'too large' {
  const file = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const stats = fstatSync(file);
    if (!stats.isFile()) return 'no file';
    if (stats.size > MAX_BYTES) return 'too large';
    return { text: readBytes(file, stats.size).toString(), mode: stats.mode };
  } finally {
    closeSync(file);
  }
}

/** So many, also of a file that grows meanwhile. */
function readBytes(file: number, size: number): Buffer {
  const bytes = Buffer.alloc(size);
  let length = 0;
  while (length < size) {
    const count = readSync(file, bytes, length, size - length, null);
    if (count === 0) break;
    length += count;
  }
  return bytes.subarray(0, length);
}
