import { readdirSync, readFileSync } from 'node:fs';

/** Linux counts CPU time in ticks of 10 ms. */
const TICK_MS = 10;

/** CPU time that a process and its living descendants have used; 0 where there is no /proc. */
export function readTreeCpuMs(rootPid: number): number {
  return readCpuMs(listTree(rootPid));
}

/** CPU time that these processes have used so far; those that are gone count nothing. */
export function readCpuMs(pids: readonly number[]): number {
  return pids
    .flatMap((pid) => parseStat(readOrEmpty(`/proc/${pid}/stat`)))
    .reduce((sum, { cpuMs }) => sum + cpuMs, 0);
}

/** Proportional memory: what several of them share counts once. Null where it cannot be read. */
export function readTreeMemoryMb(rootPid: number): number | null {
  return readMemoryMb(listTree(rootPid));
}

/** Their proportional memory; null where it cannot be read. */
export function readMemoryMb(pids: readonly number[]): number | null {
  let kilobytes = 0;
  for (const pid of pids) {
    const match = /^Pss:\s+(\d+) kB/m.exec(readOrEmpty(`/proc/${pid}/smaps_rollup`));
    if (match !== null) kilobytes += Number(match[1]);
  }
  return kilobytes === 0 ? null : kilobytes / 1024;
}

/** The process ids of a process and all that descend from it. */
export function listTree(rootPid: number): number[] {
  return treeOf(rootPid).map(({ pid }) => pid);
}

/** Who started it; null when it is gone. */
export function readParent(pid: number): number | null {
  return parseStat(readOrEmpty(`/proc/${pid}/stat`))[0]?.parent ?? null;
}

interface ProcessLine {
  readonly pid: number;
  readonly parent: number;
  readonly cpuMs: number;
}

function treeOf(rootPid: number): ProcessLine[] {
  const all = listProcesses();
  const found = all.filter(({ pid }) => pid === rootPid);
  for (const { pid } of found) found.push(...all.filter(({ parent }) => parent === pid));
  return found;
}

function listProcesses(): ProcessLine[] {
  let names: string[];
  try {
    names = readdirSync('/proc');
  } catch {
    return [];
  }
  return names
    .filter((name) => /^\d+$/.test(name))
    .flatMap((name) => parseStat(readOrEmpty(`/proc/${name}/stat`)));
}

/** Source: proc(5), "/proc/pid/stat"; the name in parentheses may hold spaces. */
function parseStat(text: string): ProcessLine[] {
  const end = text.lastIndexOf(')');
  if (end < 0) return [];
  const fields = text.slice(end + 2).split(' ');
  const ticks = Number(fields[11]) + Number(fields[12]);
  return [{ pid: Number.parseInt(text, 10), parent: Number(fields[1]), cpuMs: ticks * TICK_MS }];
}

function readOrEmpty(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
