import { setTimeout as delay } from 'node:timers/promises';
import { listProcessTree } from '../../../src/cli/dev/process-tree.ts';
import type { LockstepPool } from '../../../src/index.ts';
import { runClosedLoop } from '../../closed-loop.ts';
import type { Workload } from '../../closed-loop.ts';
import { ITEM_COUNT } from '../servers.ts';
import { openLockstep, scatteredIds } from './target.ts';
import type { Target } from './target.ts';

export interface SilentFollowerOptions {
  /** Leader and two followers. */
  readonly target: Target;
  readonly callers: number;
  /** Of the first follower's server. */
  readonly pid: number;
}

const READ = 'SELECT id, name, price, v FROM item WHERE id = $1';
/** Reads there before it falls silent, so that it is in use. */
const READS_THERE = 50;
const PATIENCE_MS = 30_000;

/** Reads while a follower hangs without closing anything; how long the slowest of them takes counts. */
export async function createWorkload({ target, callers, pid }: SilentFollowerOptions): Promise<Workload> {
  const pool = openLockstep(target);
  const nextId = scatteredIds(ITEM_COUNT);
  const read = async (): Promise<number> => {
    const startedAtMs = performance.now();
    await pool.query(READ, [nextId()]);
    return performance.now() - startedAtMs;
  };
  const name = `${target.hosts[1]?.host}:${target.hosts[1]?.port}`;
  return {
    round: async (durationMs) => {
      await untilRead(pool, name, read);
      let longestMs = 0;
      const signal = async (which: NodeJS.Signals): Promise<void> => {
        for (const each of await listProcessTree(pid)) process.kill(each, which);
      };
      await signal('SIGSTOP');
      try {
        const report = await runClosedLoop(callers, durationMs, async () => {
          longestMs = Math.max(longestMs, await read());
        });
        return { ...report, counters: { longestMs } };
      } finally {
        await signal('SIGCONT');
      }
    },
    end: () => pool.end(),
  };
}

async function untilRead(pool: LockstepPool, name: string, read: () => Promise<unknown>): Promise<void> {
  const readsThere = (): number => pool.stats().readsByNode[name] ?? 0;
  const wanted = readsThere() + READS_THERE;
  const deadlineMs = performance.now() + PATIENCE_MS;
  while (readsThere() < wanted) {
    if (performance.now() > deadlineMs) throw new Error(`The follower ${name} is not read from again.`);
    await read();
    await delay(1);
  }
}
