import { readFileSync } from 'node:fs';

/** How often the watchdog looks at its deadlines; also bounds how late a woken one acts. */
export const WATCHDOG_INTERVAL_MS = 10;

/** Whether a process was stopped by a signal, which no load on the machine looks like. False without Linux's /proc. */
export function isSuspended(pid: number): boolean {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // Its name, in brackets, may have anything in it.
    return text.charAt(text.lastIndexOf(')') + 2) === 'T';
  } catch {
    return false;
  }
}

/**
 * Stops PostgreSQL's processes and lets go those that it stopped: what somebody else had suspended before must not
 * be woken by the way, or a leader that hangs would go on without anybody having looked why.
 */
export class Freeze {
  readonly #stopped = new Set<number>();

  /** To be repeated while it lasts: somebody else may let a process go. */
  stop(pids: readonly number[]): void {
    for (const pid of pids) {
      if (!this.#stopped.has(pid) && isSuspended(pid)) continue;
      this.#stopped.add(pid);
      send(pid, 'SIGSTOP');
    }
  }

  /** The postmaster, named first when they were stopped, comes last: it may miss none of its children. */
  end(): void {
    for (const pid of [...this.#stopped].toReversed()) send(pid, 'SIGCONT');
    this.#stopped.clear();
  }
}

/** Does nothing where the process is gone. */
export function send(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // It was gone before.
  }
}
