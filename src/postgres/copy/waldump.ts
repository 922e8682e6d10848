import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { formatLsn } from '../../model/lsn.ts';
import type { Lsn } from '../../model/lsn.ts';
import type { Timeline } from '../../model/timeline.ts';
import type { PostgresAccount } from '../account.ts';

/**
 * Runs pg_waldump over a stretch of one timeline's log and gives its lines to `onLine`. Resolves true when it
 * came to the end, also when the log ends before `toLsn`; false when it was cut off after `timeoutMs` or could
 * not run. Timestamps are in UTC.
 */
export async function readLog(options: {
  readonly pgWaldump: string;
  readonly account: PostgresAccount | null;
  /** The folder of segments. */
  readonly folder: string;
  readonly timeline: Timeline;
  readonly fromLsn: Lsn;
  readonly toLsn: Lsn;
  readonly resourceManagers: readonly string[];
  /** Of this transaction alone. */
  readonly xid?: number;
  readonly timeoutMs: number;
  readonly onLine: (line: string) => void;
}): Promise<boolean> {
  const { account } = options;
  const child = spawn(
    options.pgWaldump,
    [
      `--path=${options.folder}`,
      `--timeline=${options.timeline}`,
      `--start=${formatLsn(options.fromLsn)}`,
      `--end=${formatLsn(options.toLsn)}`,
      ...options.resourceManagers.map((name) => `--rmgr=${name}`),
      ...(options.xid === undefined ? [] : [`--xid=${options.xid}`]),
    ],
    {
      cwd: '/',
      env: { ...process.env, TZ: 'UTC', LC_ALL: 'C' },
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: options.timeoutMs,
      killSignal: 'SIGKILL',
      ...(account === null ? {} : { uid: account.uid, gid: account.gid }),
    },
  );
  let complaint = '';
  child.stderr.on('data', (chunk: Buffer) => (complaint = (complaint + chunk.toString()).slice(-2_000)));
  const lines = createInterface({ input: child.stdout });
  lines.on('line', options.onLine);
  return new Promise((resolve) => {
    child.on('error', () => resolve(false));
    // The end of a log that was still being written looks to it like a broken record.
    child.on('close', (code) =>
      resolve(code === 0 || /error in WAL record at|invalid record/.test(complaint)),
    );
  });
}
