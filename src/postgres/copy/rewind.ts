import { execFile } from 'node:child_process';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { PostgresAccount } from '../account.ts';
import type { PostgresBinaries } from '../binaries.ts';
import { readControlFile } from '../control-file.ts';
import type { ServerAddress } from '../replication-connection.ts';
import { renderConnInfo } from '../settings.ts';
import { SCRAM_ONLY } from '../../wire/core/auth-guard.ts';
import { GuardedClient } from '../../wire/guarded-client.ts';

const run = promisify(execFile);

/** Past these it is quicker to copy everything than to wait on. */
const REWIND_TIMEOUT_MS = 600_000;
const CHECKPOINT_TIMEOUT_MS = 120_000;

export type RewindResult =
  { readonly kind: 'rewound' } | { readonly kind: 'failed'; readonly reason: string };

interface RewindOptions {
  readonly binaries: PostgresBinaries;
  readonly account: PostgresAccount | null;
  readonly dataDir: string;
  readonly source: ServerAddress;
}

/**
 * Turns a stopped, diverged data folder back to the point where its history left the source's
 * (pg_rewind). After a failure the folder must not be started: clone it anew. Takes at most about ten minutes.
 * Source: PostgreSQL documentation, "pg_rewind".
 */
export async function rewindDataFolder(options: RewindOptions): Promise<RewindResult> {
  const { binaries, account, dataDir, source } = options;
  if (binaries.pgRewind === null) return { kind: 'failed', reason: 'this PostgreSQL ships no pg_rewind' };
  const { password, ...address } = source;
  const identity = account === null ? {} : { uid: account.uid, gid: account.gid };
  try {
    await writeTimeline(source);
    const control = await readControlFile(dataDir);
    // pg_rewind lets a crashed folder recover first, in a mode that refuses to be a standby.
    if (control?.state === 'other') await rm(join(dataDir, 'standby.signal'), { force: true });
    const archive = await run(join(binaries.binDir, 'postgres'), ['-D', dataDir, '-C', 'restore_command'], {
      cwd: '/',
      ...identity,
    });
    const { stderr } = await run(
      binaries.pgRewind,
      [
        `--target-pgdata=${dataDir}`,
        `--source-server=${renderConnInfo({ ...address, dbname: 'postgres' })}`,
        // Log that this folder no longer has may be in the archive, where there is one.
        ...(archive.stdout.trim() === '' ? [] : ['--restore-target-wal']),
      ],
      {
        // As PostgreSQL itself runs restore_command, which may name a file from there.
        cwd: dataDir,
        env: { ...process.env, PGPASSWORD: password, PGREQUIREAUTH: 'scram-sha-256', LC_ALL: 'C' },
        timeout: REWIND_TIMEOUT_MS,
        killSignal: 'SIGKILL',
        maxBuffer: 16_000_000,
        ...identity,
      },
    );
    // It is called only for a folder that diverged: then this is a misunderstanding, not a success.
    if (/no rewind required/.test(stderr)) return { kind: 'failed', reason: 'pg_rewind saw no divergence' };
    return { kind: 'rewound' };
  } catch (error) {
    const { stderr, killed } = error as { stderr?: string; killed?: boolean };
    if (killed === true) return { kind: 'failed', reason: `not done within ${REWIND_TIMEOUT_MS / 1_000} s` };
    return { kind: 'failed', reason: stderr?.trim().split('\n').at(-1) || String(error) };
  }
}

/**
 * pg_rewind takes the source's timeline from its control file, where a promoted server writes it with its
 * first checkpoint: before that it would find nothing to do.
 */
async function writeTimeline(source: ServerAddress): Promise<void> {
  const client = new GuardedClient({
    ...source,
    requireAuth: SCRAM_ONLY,
    database: 'postgres',
    application_name: 'lockstep agent',
    connectionTimeoutMillis: 5_000,
    query_timeout: CHECKPOINT_TIMEOUT_MS,
  });
  client.on('error', () => undefined);
  await client.connect();
  try {
    const { rows } = await client.query<{ is_written: boolean }>(
      `SELECT left(pg_walfile_name(pg_current_wal_lsn()), 8) = upper(lpad(to_hex(timeline_id), 8, '0')) AS is_written
         FROM pg_control_checkpoint()`,
    );
    if (rows[0]?.is_written !== true) await client.query('CHECKPOINT');
  } finally {
    await client.end().catch(() => undefined);
  }
}
