import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';

/**
 * Tells the process that has this number now from any other that ever had or will have it: when it started, and in which
 * life of the machine. Null when there is none.
 */
export function processStart(pid: number): string | null {
  if (!Number.isInteger(pid) || pid < 1) return null;
  try {
    return existsSync('/proc/self/stat') ? startFromProc(pid) : startFromPs(pid);
  } catch {
    return null;
  }
}

/** Field 22 of proc(5)'s stat: clock ticks between the machine's start and the process'. */
function startFromProc(pid: number): string | null {
  const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
  // Its name, in brackets, may have anything in it; the state comes right behind, as field 3.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  if (fields[0] === 'Z' || fields[0] === 'X') return null;
  return `${readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()}/${fields[19]}`;
}

function startFromPs(pid: number): string | null {
  return execFileSync('ps', ['-o', 'lstart=', '-p', String(pid)], { encoding: 'utf8' }).trim() || null;
}
