import { execFile } from 'node:child_process';
import { readdir, readFile } from 'node:fs/promises';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** A process and everything that it started, parents first. */
export async function listProcessTree(root: number): Promise<number[]> {
  const children = new Map<number, number[]>();
  for (const [pid, parent] of process.platform === 'linux' ? await listFromProc() : await listFromPs()) {
    children.set(parent, [...(children.get(parent) ?? []), pid]);
  }
  const tree = [root];
  for (let index = 0; index < tree.length; index++) tree.push(...(children.get(tree[index] ?? 0) ?? []));
  return tree;
}

type PidAndParent = readonly [number, number];

/** Not through ps: small Linux images do not have it. */
async function listFromProc(): Promise<PidAndParent[]> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
  const found = await Promise.all(
    pids.map(async (pid): Promise<PidAndParent | null> => {
      const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => null);
      const parent = stat === null ? undefined : /^\d+ \(.*\) \S (\d+)/s.exec(stat)?.[1];
      return parent === undefined ? null : [Number(pid), Number(parent)];
    }),
  );
  return found.filter((entry) => entry !== null);
}

async function listFromPs(): Promise<PidAndParent[]> {
  const { stdout } = await run('ps', ['-A', '-o', 'pid=,ppid=']);
  return stdout
    .trim()
    .split('\n')
    .map((line) => line.trim().split(/\s+/).map(Number))
    .map(([pid = 0, parent = 0]) => [pid, parent]);
}

/** Signals a whole process tree; processes that are gone are skipped. */
export async function signalProcessTree(root: number, signal: NodeJS.Signals): Promise<void> {
  for (const pid of await listProcessTree(root)) {
    try {
      process.kill(pid, signal);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
    }
  }
}

/** Whether a process with this id exists. */
export function isProcessAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
