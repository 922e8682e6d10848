import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type pg from 'pg';
import type { PostgresAccount } from './account.ts';
import type { PostgresBinaries } from './binaries.ts';
import { FOLLOWER_SETTING_NAMES, lackingSettings, readControlFile } from './control-file.ts';
import type { LackingSetting } from './control-file.ts';

const run = promisify(execFile);

/** What PostgreSQL says when it may not begin to replay. Source: RecoveryRequiresIntParameter in its xlogrecovery.c. */
export const INSUFFICIENT_SETTINGS: RegExp = /because of insufficient parameter settings/;

/**
 * Which settings keep this running follower from replaying. The control file tells what the leader has: replay of
 * the leader's change writes it there before it stops at it.
 */
export async function lackingInServer(
  client: pg.Client,
  dataDir: string,
): Promise<readonly LackingSetting[]> {
  const control = await readControlFile(dataDir);
  if (control === null) return [];
  const { rows } = await client.query<{ name: string; setting: string }>(
    'SELECT name, setting FROM pg_settings WHERE name = ANY ($1)',
    [FOLLOWER_SETTING_NAMES],
  );
  return lackingSettings(
    Object.fromEntries(rows.map(({ name, setting }) => [name, Number(setting)])),
    control,
  );
}

/** Which settings PostgreSQL would start with too low, by all of its files: the last one that names a setting counts. */
export async function lackingInFiles(options: {
  readonly binaries: PostgresBinaries;
  readonly account: PostgresAccount | null;
  readonly dataDir: string;
}): Promise<readonly LackingSetting[]> {
  const { binaries, account, dataDir } = options;
  const control = await readControlFile(dataDir);
  if (control === null) return [];
  const values: Record<string, number> = {};
  for (const name of FOLLOWER_SETTING_NAMES) {
    const { stdout } = await run(join(binaries.binDir, 'postgres'), ['-D', dataDir, '-C', name], {
      cwd: '/',
      timeout: 10_000,
      ...(account === null ? {} : { uid: account.uid, gid: account.gid }),
    });
    values[name] = Number(stdout.trim());
  }
  return lackingSettings(values, control);
}

/** For people, e.g. `max_connections 50, needs 200`. */
export function describeLacking(lacking: readonly LackingSetting[]): string {
  return lacking.map(({ name, value, least }) => `${name} ${value}, needs ${least}`).join('; ');
}
