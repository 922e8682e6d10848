import { readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { hasPassword } from './core/pass-file.ts';
import type { PassFileKey } from './core/pass-file.ts';

const MAX_BYTES = 1_000_000;

/** Whether pg would take a password for this server from PGPASSFILE or ~/.pgpass. */
export function isInPassFile(key: PassFileKey): boolean {
  const path = process.env['PGPASSFILE'] ?? join(homedir(), '.pgpass');
  try {
    return hasPassword(readFileSync(path, 'utf8').slice(0, MAX_BYTES), key);
  } catch {
    return false;
  }
}
