import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import type pg from 'pg';
import { Follow } from '../../src/logical/follow/follow.ts';
import type { FollowOptions } from '../../src/logical/follow/follow.ts';
import { parseLsn } from '../../src/model/lsn.ts';
import { until } from './fixture.ts';

const MAIN = join(import.meta.dirname, '../../src/cli/main.ts');

/** A follow in this process, ended with its scope. */
export class RunningFollow implements AsyncDisposable {
  readonly follow: Follow;
  readonly events: string[] = [];
  readonly #stop = new AbortController();
  readonly #ended: Promise<void>;
  #failure: unknown = null;

  constructor(options: FollowOptions) {
    this.follow = new Follow({ ...options, onEvent: (sentence) => this.events.push(sentence) });
    this.#ended = this.follow.run(this.#stop.signal).catch((error: unknown) => {
      this.#failure = error;
    });
  }

  /** Resolves when everything that the source has committed before is at the target. */
  async caughtUp(source: pg.Client, deadlineMs = 60_000): Promise<void> {
    const { rows } = await source.query(`SELECT pg_current_wal_flush_lsn()::text AS lsn`);
    const wanted = parseLsn(rows[0].lsn);
    await until(
      `the follow is at ${rows[0].lsn}`,
      () => {
        if (this.#failure !== null) throw this.#failure as Error;
        const { sourceLsn, lagBytes } = this.follow.status;
        return sourceLsn !== null && sourceLsn >= wanted && lagBytes === 0;
      },
      deadlineMs,
    );
  }

  get failure(): unknown {
    return this.#failure;
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#ended;
    if (this.#failure !== null) throw this.#failure as Error;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#ended;
  }
}

/** `lockstep follow` as a process of its own, which can be killed. */
export function spawnFollow(args: readonly string[]): ChildProcess {
  return spawn(process.execPath, [MAIN, 'follow', ...args], { stdio: ['ignore', 'ignore', 'pipe'] });
}

export async function killHard(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exit = once(child, 'exit');
  child.kill('SIGKILL');
  await exit;
}

/** Every row of a table as text, in order. */
export async function readRows(client: pg.Client, table: string): Promise<string[]> {
  const { rows } = await client.query<{ line: string }>(
    `SELECT t::text AS line FROM ${table} t ORDER BY t::text`,
  );
  return rows.map(({ line }) => line);
}
