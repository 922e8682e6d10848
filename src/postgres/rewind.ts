import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import type { PostgresAccount } from './account.ts';
import type { PostgresBinaries } from './binaries.ts';
import type { ServerAddress } from './replication-connection.ts';
import { renderConnInfo } from './settings.ts';

const run = promisify(execFile);

export type RewindResult =
  { readonly kind: 'rewound' } | { readonly kind: 'failed'; readonly reason: string };

/**
 * Turns a stopped, diverged data folder back to the point where its history left the source's
 * (pg_rewind). After a failure the folder must not be started: clone it anew.
 */
export async function rewindDataFolder(options: {
  readonly binaries: PostgresBinaries;
  readonly account: PostgresAccount | null;
  readonly dataDir: string;
  readonly source: ServerAddress;
}): Promise<RewindResult> {
  const { binaries, account, dataDir, source } = options;
  if (binaries.pgRewind === null) return { kind: 'failed', reason: 'this PostgreSQL ships no pg_rewind' };
  const { password, ...address } = source;
  try {
    await run(
      binaries.pgRewind,
      [`--target-pgdata=${dataDir}`, `--source-server=${renderConnInfo({ ...address, dbname: 'postgres' })}`],
      {
        cwd: '/',
        env: { ...process.env, PGPASSWORD: password },
        timeout: 600_000,
        ...(account === null ? {} : { uid: account.uid, gid: account.gid }),
      },
    );
    return { kind: 'rewound' };
  } catch (error) {
    const words = (error as { stderr?: string }).stderr?.trim().split('\n').at(-1);
    return { kind: 'failed', reason: words || String(error) };
  }
}
