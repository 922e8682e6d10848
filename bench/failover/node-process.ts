import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { isProcessAlive, listProcessTree } from '../../src/cli/dev/process-tree.ts';
import type { PostgresAccount } from '../../src/postgres/account.ts';
import { signalAll } from './signals.ts';

export interface NodeProcessOptions {
  readonly command: readonly string[];
  readonly logPath: string;
  /** Null: as this user. */
  readonly account: PostgresAccount | null;
  readonly environment?: Readonly<Record<string, string>>;
}

/** A program that the bench runs on a node; it can be killed and started again. */
export class NodeProcess {
  readonly #options: NodeProcessOptions;
  #child: ChildProcess | null = null;
  #exited: Promise<void> = Promise.resolve();

  constructor(options: NodeProcessOptions) {
    this.#options = options;
  }

  get isRunning(): boolean {
    return this.#child !== null && this.#child.exitCode === null && this.#child.signalCode === null;
  }

  /** Null while it does not run. */
  get pid(): number | null {
    return this.isRunning ? (this.#child?.pid ?? null) : null;
  }

  /** Waits for the end of the one before. */
  async start(): Promise<void> {
    await this.#exited;
    const { command, logPath, account, environment } = this.#options;
    const log = openSync(logPath, 'a');
    const [program = '', ...words] = command;
    const child = spawn(program, words, {
      // A pipe, by which agents notice the end of the bench; a group of its own, so that Ctrl-C is the bench's.
      stdio: ['pipe', log, log],
      detached: true,
      ...(account === null ? {} : { uid: account.uid, gid: account.gid }),
      ...(environment === undefined ? {} : { env: { ...process.env, ...environment } }),
    });
    closeSync(log);
    child.stdin?.on('error', () => undefined);
    this.#child = child;
    this.#exited = new Promise((resolve) => {
      child.once('exit', () => resolve());
      child.once('error', () => resolve());
    });
  }

  /** It and everything that it started, parents first. */
  async tree(): Promise<number[]> {
    return this.pid === null ? [] : listProcessTree(this.pid);
  }

  /** Asks it to end in order; after the patience kills it and all it started. Suspended ones, too. */
  async end(patienceMs: number): Promise<void> {
    signalAll(await this.tree(), 'SIGCONT');
    this.#child?.kill('SIGTERM');
    const isGone = await Promise.race([
      this.#exited.then(() => true),
      delay(patienceMs, false, { ref: false }),
    ]);
    if (isGone) return;
    signalAll(await this.tree(), 'SIGKILL');
    await this.#exited;
  }
}

/** The postmaster that a data folder names, while it lives; null else. */
export async function readPostmaster(dataDir: string): Promise<number | null> {
  const text = await readFile(`${dataDir}/postmaster.pid`, 'utf8').catch(() => '');
  const pid = Number.parseInt(text, 10);
  if (!Number.isInteger(pid) || !isProcessAlive(pid)) return null;
  // The file of a dead one may name somebody else's process by now.
  const command = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
  return command.includes('postgres') ? pid : null;
}
