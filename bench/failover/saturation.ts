import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { cpus } from 'node:os';
import { setTimeout as delay } from 'node:timers/promises';
import { nowMs } from './cluster.ts';
import { Load } from './load.ts';
import { LockstepCluster } from './lockstep-cluster.ts';

export interface Saturation {
  readonly minutes: number;
  /** How often the leadership was given anew although nothing was broken. */
  readonly failovers: number;
  readonly longestPauseSeconds: number;
  readonly writesPerSecond: number;
}

/** Keeps a core busy; ends when the bench does. */
const BURN = `const parent = process.ppid;
for (;;) {
  const until = Date.now() + 100;
  while (Date.now() < until);
  if (process.ppid !== parent) process.exit();
}`;
const CHECK_INTERVAL_MS = 1_000;

/** Every core is kept busy by a process of its own, and clients write as fast as they can. */
export async function runSaturation(options: {
  readonly minutes: number;
  readonly postgres: string;
  readonly signal: AbortSignal;
  readonly progress: (line: string) => void;
}): Promise<Saturation> {
  const { minutes, postgres, signal, progress } = options;
  await using cluster = await LockstepCluster.start({ postgres, hasNetwork: false, signal });
  const before = await cluster.untilWhole();
  await using load = await Load.start(cluster.nodes, before.leader, cluster.url, 0);
  using burners = new Burners();
  const startedAtMs = nowMs();
  const untilMs = startedAtMs + minutes * 60_000;
  let lastAtMs = startedAtMs;
  let longestMs = 0;
  let writes = 0;
  let saidAtMs = startedAtMs;
  while (nowMs() < untilMs) {
    await delay(Math.min(CHECK_INTERVAL_MS, Math.max(0, untilMs - nowMs())), undefined, { signal });
    for (const { writer, endedAtMs } of load.acknowledged) {
      if (writer !== 'plain') continue;
      longestMs = Math.max(longestMs, endedAtMs - lastAtMs);
      lastAtMs = endedAtMs;
    }
    writes += load.acknowledged.length;
    load.forget();
    if (nowMs() - saidAtMs < 60_000) continue;
    saidAtMs = nowMs();
    progress(`${Math.round((saidAtMs - startedAtMs) / 60_000)} of ${minutes} minutes, ${writes} writes`);
  }
  const elapsedMs = nowMs() - startedAtMs;
  longestMs = Math.max(longestMs, nowMs() - lastAtMs);
  burners.end();
  const after = await cluster.untilWhole();
  return {
    minutes,
    failovers: after.term - before.term,
    longestPauseSeconds: longestMs / 1_000,
    writesPerSecond: (writes * 1_000) / elapsedMs,
  };
}

class Burners implements Disposable {
  readonly #children: readonly ChildProcess[] = cpus().map(() =>
    spawn(process.execPath, ['-e', BURN], { stdio: 'ignore' }),
  );

  end(): void {
    for (const child of this.#children) child.kill('SIGKILL');
  }

  [Symbol.dispose](): void {
    this.end();
  }
}
