import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { openSync, closeSync } from 'node:fs';
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { listProcessTree } from '../../../src/cli/dev/process-tree.ts';
import { killNamespace, listNamespacePids, signalAll } from './claim.ts';
import type { Clock } from './clock.ts';
import { runTool } from './command.ts';
import type { Disk } from './disk.ts';
import type { Namespace } from './network.ts';

const CLI = fileURLToPath(new URL('../../../src/cli/main.ts', import.meta.url));
const ASK = fileURLToPath(new URL('ask.ts', import.meta.url));
/** An agent needs little; three of them and the load share the machine. */
const SMALL_HEAP = ['--max-semi-space-size=1', '--max-old-space-size=192'];

/** Which processes a signal is for. `host` is all of them, the watchdog too. */
export type Part = 'agent' | 'postgres' | 'host';

export interface HostOptions {
  readonly namespace: Namespace;
  readonly disk: Disk;
  readonly clock: Clock;
  /** The compiled disk.c and clock.c, or null where there is no compiler. */
  readonly preload: string | null;
  readonly configPath: string;
  readonly dataRoot: string;
  /** Where agent.log goes: not on the host's disk, which may be full. */
  readonly logFolder: string;
}

/** One node's machine: a namespace, a disk and the agent in it, which starts PostgreSQL. */
export class Host {
  readonly name: string;
  readonly address: string;
  readonly disk: Disk;
  readonly clock: Clock;
  readonly #options: HostOptions;
  #agent: ChildProcess | null = null;

  constructor(options: HostOptions) {
    this.#options = options;
    this.name = options.namespace.host;
    this.address = options.namespace.address;
    this.disk = options.disk;
    this.clock = options.clock;
  }

  /** Starts the agent; `ip netns exec` becomes it, so the child's id is the agent's. */
  async start(): Promise<void> {
    if (this.isRunning) throw new Error(`The agent of ${this.name} runs already.`);
    const { namespace, configPath, dataRoot, logFolder } = this.#options;
    await mkdir(logFolder, { recursive: true });
    const log = openSync(join(logFolder, 'agent.log'), 'a');
    const node = ['--config', configPath, '--data', dataRoot, '--node', this.name];
    const words = ['agent', ...node, '--until-stdin-closes'];
    const child = spawn(
      'ip',
      ['netns', 'exec', namespace.name, process.execPath, ...SMALL_HEAP, CLI, ...words],
      {
        // A pipe, so that the agent ends when this process does; a group of its own, so that Ctrl-C is ours.
        stdio: ['pipe', log, log],
        detached: true,
        env: { ...process.env, ...this.#faultEnvironment },
      },
    );
    closeSync(log);
    child.stdin?.on('error', () => undefined);
    child.on('error', () => undefined);
    this.#agent = child;
  }

  get #faultEnvironment(): Readonly<Record<string, string>> {
    const { preload } = this.#options;
    if (preload === null) return {};
    return { LD_PRELOAD: preload, ...this.disk.environment, ...this.clock.environment };
  }

  /** The first row that a server says, asked from this host; null for none. */
  async ask(dsn: string, statement: string): Promise<unknown> {
    const { namespace } = this.#options;
    const answer = await runTool(
      'ip',
      'netns',
      'exec',
      namespace.name,
      process.execPath,
      ASK,
      dsn,
      statement,
    );
    return JSON.parse(answer);
  }

  get isRunning(): boolean {
    return this.#agent !== null && this.#agent.exitCode === null && this.#agent.signalCode === null;
  }

  /** Everything at once: what a lost machine looks like. */
  async kill(): Promise<void> {
    await killNamespace(this.#options.namespace.name);
    await this.#untilAgentEnded();
  }

  async signal(part: Part, signal: NodeJS.Signals): Promise<void> {
    signalAll(await this.#pids(part), signal);
    if (part === 'agent' && signal === 'SIGKILL') await this.#untilAgentEnded();
  }

  /** One backend that serves a client or writes: PostgreSQL answers with a crash restart. */
  async killBackend(): Promise<void> {
    const [, ...children] = await this.#pids('postgres');
    const last = children.at(-1);
    if (last === undefined) throw new Error(`PostgreSQL of ${this.name} has no backends.`);
    signalAll([last], 'SIGKILL');
  }

  async killPostmaster(): Promise<void> {
    signalAll((await this.#pids('postgres')).slice(0, 1), 'SIGKILL');
  }

  /** Stops the agent in order, as an update of its machine would. Kills it when that takes more than 30 s. */
  async stop(): Promise<void> {
    if (!this.isRunning) return;
    this.#agent?.kill('SIGTERM');
    const timer = setTimeout(() => void this.kill(), 30_000);
    await this.#untilAgentEnded();
    clearTimeout(timer);
  }

  /** The last lines of its logs. */
  async logs(lines: number): Promise<string> {
    const { logFolder } = this.#options;
    const files = [join(logFolder, 'agent.log'), join(this.disk.path, 'postgres.log')];
    const texts = await Promise.all(
      files.map(async (file) => {
        const text = await readFile(file, 'utf8').catch((error: Error) => error.message);
        return [`--- ${this.name} ${file}`, ...text.trim().split('\n').filter(isTelling).slice(-lines)].join(
          '\n',
        );
      }),
    );
    return texts.join('\n');
  }

  async #pids(part: Part): Promise<number[]> {
    if (part === 'agent') return this.isRunning ? [this.#agent?.pid ?? 0] : [];
    if (part === 'host') return listNamespacePids(this.#options.namespace.name);
    const text = await readFile(join(this.disk.path, 'data', 'postmaster.pid'), 'utf8').catch(() => '');
    const postmaster = Number.parseInt(text, 10);
    const alive = await listNamespacePids(this.#options.namespace.name);
    // The file of a dead one may name a process of somebody else by now.
    return alive.includes(postmaster) ? listProcessTree(postmaster) : [];
  }

  async #untilAgentEnded(): Promise<void> {
    const agent = this.#agent;
    if (agent === null || !this.isRunning) return;
    await new Promise<void>((resolve) => agent.once('exit', () => resolve()));
  }
}

/** Not what the load does at every node: it asks followers, too, and is refused. */
function isTelling(line: string): boolean {
  return !/^\s|read-only transaction|STATEMENT: {2}BEGIN|is (starting up|shutting down)/.test(line);
}
