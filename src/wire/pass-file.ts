import { readFileSync, statSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { codeOf, LockstepError } from '../model/errors.ts';
import { findPassword } from './core/pass-file.ts';
import type { PassFileKey } from './core/pass-file.ts';

const MAX_BYTES = 1_000_000;

/** Whether pg would take a password for this server from PGPASSFILE or ~/.pgpass. */
export function isInPassFile(key: PassFileKey): boolean {
  const path = process.env['PGPASSFILE'] ?? join(homedir(), '.pgpass');
  try {
    return findPassword(readFileSync(path, 'utf8').slice(0, MAX_BYTES), key) !== null;
  } catch {
    return false;
  }
}

/**
 * The password for a server in the pass file that the parameter `passfile` of a URL names; null where it has none. Throws
 * CONFIG_INVALID for one that cannot be read, or that others may read.
 */
export function passwordFrom(path: string, key: PassFileKey): string | null {
  try {
    if ((statSync(path).mode & 0o077) === 0)
      return findPassword(readFileSync(path, 'utf8').slice(0, MAX_BYTES), key);
  } catch (error) {
    throw new LockstepError(
      'CONFIG_INVALID',
      `Name a pass file that can be read here: passfile "${path}" in the URL cannot (${codeOf(error)}).`,
      { cause: error },
    );
  }
  throw new LockstepError(
    'CONFIG_INVALID',
    `Run chmod 600 on ${path}, which the URL names as passfile: others may read the passwords in it.`,
  );
}
