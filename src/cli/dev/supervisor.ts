import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { closeSync, constants, existsSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { extname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { findNode, nodeFolder } from '../../leader-follower/config/config.ts';
import type { ClusterConfig } from '../../leader-follower/config/config.ts';
import { LockstepError } from '../../model/errors.ts';
import { LogRotation } from '../../host/log-rotation.ts';
import { openOwnFile } from '../../host/own-file.ts';
import { signalProcessTree } from './process-tree.ts';

export interface SupervisorOptions {
  readonly config: ClusterConfig;
  readonly configPath: string;
  readonly dataRoot: string;
  /** An agent ended although nobody asked this process: with its last words. No failure: its node was removed. */
  readonly onExit: (node: string, reason: string, isFailure: boolean) => void;
}

/** How often it is looked whether a PostgreSQL is down. */
const LOOK_MS = 5;

/** An agent's garbage is small and short-lived; by default V8 would let hundreds of megabytes of it lie. */
const SMALL_HEAP = ['--max-semi-space-size=1', '--max-old-space-size=192'];

interface Child {
  readonly process: ChildProcess;
  readonly exited: Promise<void>;
  isExpected: boolean;
}

/** The agents of a local cluster as child processes; they stop by themselves when this process dies. */
export class Supervisor {
  readonly #options: SupervisorOptions;
  #config: ClusterConfig;
  readonly #children = new Map<string, Child>();

  constructor(options: SupervisorOptions) {
    this.#options = options;
    this.#config = options.config;
  }

  /** Takes the nodes that there are now; starts and stops none. */
  use(config: ClusterConfig): void {
    this.#config = config;
  }

  async startAll(): Promise<void> {
    for (const node of this.#config.nodes) await this.start(node.name);
  }

  /** Starts a node's agent. Throws CONFIG_INVALID when it is unknown or runs already. */
  async start(name: string): Promise<void> {
    const { configPath, dataRoot } = this.#options;
    const node = findNode(this.#config, name);
    if (this.#children.has(node.name)) {
      throw new LockstepError('CONFIG_INVALID', `Node ${name} runs already.`);
    }
    const folder = nodeFolder(dataRoot, node.name);
    await mkdir(folder, { recursive: true, mode: 0o755 });
    const logPath = join(folder, 'agent.log');
    const log = openOwnFile(logPath, constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT);
    const rotation = new LogRotation(logPath);
    const script = fileURLToPath(new URL(`../main${extname(import.meta.url)}`, import.meta.url));
    const words = ['agent', '--config', configPath, '--data', dataRoot, '--node', node.name];
    const child = spawn(
      process.execPath,
      [...SMALL_HEAP, script, ...words, '--until-stdin-closes'],
      // A group of its own: Ctrl-C in the terminal is for the supervisor, which stops nodes in order.
      { stdio: ['pipe', log, 'pipe'], detached: true },
    );
    closeSync(log);
    child.stdin?.on('error', () => undefined);
    let lastWords = '';
    if (child.stderr !== null)
      createInterface({ input: child.stderr }).on('line', (line) => (lastWords = line));
    const entry: Child = {
      process: child,
      isExpected: false,
      exited: new Promise((resolve) => {
        child.on('close', (code, signal) => {
          this.#children.delete(node.name);
          rotation.close();
          resolve();
          if (entry.isExpected) return;
          const reason = lastWords || `its agent ended with ${signal ?? `code ${code}`}`;
          this.#options.onExit(node.name, reason, code !== 0);
        });
      }),
    };
    this.#children.set(node.name, entry);
  }

  /** SIGKILL for the agent, its watchdog and PostgreSQL at once: what a lost host looks like. */
  async kill(name: string): Promise<void> {
    const child = this.#running(name);
    child.isExpected = true;
    await signalProcessTree(child.process.pid ?? 0, 'SIGKILL');
    await child.exited;
  }

  /** {@link kill} for every node that runs. */
  async killAll(): Promise<void> {
    for (const [name, child] of this.#children) {
      child.isExpected = true;
      await signalProcessTree(child.process.pid ?? 0, 'SIGKILL');
      await child.exited;
      this.#children.delete(name);
    }
  }

  /** Suspends or resumes the agent, its watchdog and PostgreSQL. */
  async signal(name: string, signal: 'SIGSTOP' | 'SIGCONT'): Promise<void> {
    await signalProcessTree(this.#running(name).process.pid ?? 0, signal);
  }

  /**
   * Stops every node. The leader's PostgreSQL ends first, and ships all it has to the followers as it does; they are stopped as
   * soon as it is down, before one of them is elected. The other way round, commits that wait for no follower would go
   * on meanwhile, on a disk that need not be the next leader's.
   */
  async stopAll(leader: string | null): Promise<void> {
    const followers = [...this.#children.keys()].filter((name) => name !== leader);
    const leading = leader === null ? Promise.resolve() : this.#stop(leader);
    if (leader !== null) await this.#serverEnded(leader);
    await Promise.all([leading, ...followers.map((name) => this.#stop(name))]);
  }

  /** Resolves when a node's PostgreSQL is down, or its agent is. */
  async #serverEnded(name: string): Promise<void> {
    const node = this.#config.nodes.find((one) => one.name === name);
    if (node === undefined) return;
    const lockFile = join(nodeFolder(this.#options.dataRoot, node.name), 'data', 'postmaster.pid');
    while (this.#children.has(name) && existsSync(lockFile)) await delay(LOOK_MS);
  }

  isRunning(name: string): boolean {
    return this.#children.has(name);
  }

  async #stop(name: string): Promise<void> {
    const child = this.#children.get(name);
    if (child === undefined) return;
    child.isExpected = true;
    child.process.kill('SIGCONT');
    child.process.kill('SIGTERM');
    const timer = setTimeout(() => void signalProcessTree(child.process.pid ?? 0, 'SIGKILL'), 15_000);
    await child.exited;
    clearTimeout(timer);
  }

  #running(name: string): Child {
    const node = findNode(this.#config, name);
    const child = this.#children.get(node.name);
    if (child) return child;
    throw new LockstepError(
      'CONFIG_INVALID',
      `Node ${name} does not run; start it with "lockstep start ${name}".`,
    );
  }
}
