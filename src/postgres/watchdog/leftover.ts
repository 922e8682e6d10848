import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, readlinkSync, realpathSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { LockstepError } from '../../model/errors.ts';
import { machineClock } from '../../clock/machine-clock.ts';

const KILL_TIMEOUT_MS = 10_000;

/**
 * Ends every PostgreSQL process that an earlier agent left on this data folder, backends without their
 * postmaster too (they hold its shared memory), and removes its stale pid file. Throws POSTGRES_FAILED
 * when one does not die.
 */
export async function endLeftover(dataDir: string): Promise<void> {
  const deadline = machineClock.nowMs() + KILL_TIMEOUT_MS;
  for (let pids = listProcesses(dataDir); pids.length > 0; pids = listProcesses(dataDir)) {
    if (machineClock.nowMs() > deadline) {
      throw new LockstepError(
        'POSTGRES_FAILED',
        `An earlier PostgreSQL still works on ${dataDir} and cannot be killed (process ${pids.join(', ')}). It belongs to another user or its disk hangs: stop it as that user, or check the disk.`,
        { details: { dataDir, pids } },
      );
    }
    killProcesses(pids);
    await machineClock.sleep(10);
  }
  await rm(join(dataDir, 'postmaster.pid'), { force: true });
}

/**
 * Process ids of PostgreSQL's processes that work in this data folder. The pid file alone proves nothing:
 * its number may belong to another program by now.
 */
export function listProcesses(dataDir: string): readonly number[] {
  if (!existsSync('/proc/self/cwd')) return listPostmaster(dataDir);
  if (!existsSync(dataDir)) return [];
  const folder = realpathSync(dataDir);
  return readdirSync('/proc')
    .map(Number)
    .filter((pid) => pid > 1 && worksIn(pid, folder));
}

/** SIGKILL to each that still exists. */
export function killProcesses(pids: readonly number[]): void {
  for (const pid of pids) {
    try {
      process.kill(pid, 'SIGKILL');
    } catch {
      // It was gone before, or it belongs to another user: the caller looks again.
    }
  }
}

function worksIn(pid: number, folder: string): boolean {
  try {
    // A zombie has no working folder any more, and holds nothing.
    return (
      readlinkSync(`/proc/${pid}/cwd`) === folder &&
      readFileSync(`/proc/${pid}/comm`, 'utf8') === 'postgres\n'
    );
  } catch {
    return false;
  }
}

/** Without /proc (macOS): the pid file's process, if its command line names this folder. */
function listPostmaster(dataDir: string): readonly number[] {
  try {
    const pid = Number(readFileSync(join(dataDir, 'postmaster.pid'), 'utf8').split('\n')[0]);
    const command = execFileSync('ps', ['-o', 'command=', '-p', String(pid)], { encoding: 'utf8' });
    return command.includes('postgres') && command.includes(dataDir) ? [pid] : [];
  } catch {
    return [];
  }
}
