import { spawn } from 'node:child_process';
import type { ChildProcess, StdioOptions } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { signalProcessTree } from '../../src/cli/dev/process-tree.ts';
import { parseClusterConfig } from '../../src/leader-follower/config/config.ts';
import type { ClusterConfig } from '../../src/leader-follower/config/config.ts';
import { freePort } from './fixture.ts';

export const CLI: string = join(import.meta.dirname, '../../src/cli/main.ts');

export interface RunOptions {
  /** Default: this process' own. */
  readonly environment?: NodeJS.ProcessEnv;
  readonly uid?: number;
  readonly gid?: number;
  readonly cwd?: string;
}

/** A command of `lockstep` that runs until it is told to end; what it printed is kept. */
export class Running {
  readonly process: ChildProcess;
  readonly ended: Promise<number | null>;
  printed = '';
  hasEnded = false;

  /** As a service manager, nohup and cron do, unless another `stdin` is given: standard input is /dev/null. */
  constructor(words: readonly string[], stdin: 'ignore' | 'pipe' = 'ignore', options: RunOptions = {}) {
    const stdio: StdioOptions = [stdin, 'pipe', 'pipe'];
    const { environment = process.env, ...rest } = options;
    this.process = spawn(process.execPath, [CLI, ...words], {
      ...rest,
      stdio,
      detached: true,
      env: environment,
    });
    for (const stream of [this.process.stdout, this.process.stderr]) {
      stream?.on('data', (chunk: Buffer) => (this.printed += chunk.toString()));
    }
    this.ended = new Promise((resolve) => {
      this.process.once('exit', (code) => {
        this.hasEnded = true;
        resolve(code);
      });
    });
  }

  /** SIGKILL for it and all that it started. */
  async kill(): Promise<void> {
    if (this.hasEnded) return;
    await signalProcessTree(this.process.pid ?? 0, 'SIGKILL');
    await this.ended;
  }

  /** The exit code. */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<number | null> {
    this.process.kill(signal);
    return this.ended;
  }
}

/** A cluster of one node, and whatever a test runs on its folder; all is gone afterwards. */
export class ServerMachine implements AsyncDisposable {
  readonly folder: string;
  readonly config: ClusterConfig;
  readonly configPath: string;
  readonly #running: Running[] = [];

  private constructor(folder: string, config: ClusterConfig) {
    this.folder = folder;
    this.config = config;
    this.configPath = join(folder, 'cluster.json');
  }

  static async create(): Promise<ServerMachine> {
    const folder = await mkdtemp(join(tmpdir(), 'lockstep-machine-'));
    await chmod(folder, 0o755);
    const ports = { port: await freePort(), agentPort: await freePort() };
    const secret = randomUUID();
    const config = parseClusterConfig(
      {
        id: randomUUID(),
        name: 'machine',
        nodes: [{ name: 'n1', host: '127.0.0.1', ...ports }],
        secrets: { superuser: secret, replication: secret, app: secret, agent: secret },
      },
      'the test machine',
    );
    const machine = new ServerMachine(folder, config);
    await writeFile(machine.configPath, JSON.stringify(config), { mode: 0o600 });
    return machine;
  }

  run(words: readonly string[], stdin: 'ignore' | 'pipe' = 'ignore', options: RunOptions = {}): Running {
    const running = new Running(words, stdin, options);
    this.#running.push(running);
    return running;
  }

  /** What starts the agent of its node. */
  get agentCommand(): readonly string[] {
    return ['agent', '--config', this.configPath, '--data', this.folder, '--node', 'n1'];
  }

  /** The same node of the same cluster, elsewhere. */
  async agentCommandOnOtherPorts(): Promise<readonly string[]> {
    const path = join(this.folder, 'elsewhere.json');
    const [node] = this.config.nodes;
    const elsewhere = { ...node, port: await freePort(), agentPort: await freePort() };
    await writeFile(path, JSON.stringify({ ...this.config, nodes: [elsewhere] }), { mode: 0o600 });
    return ['agent', '--config', path, '--data', this.folder, '--node', 'n1'];
  }

  async isLeading(): Promise<boolean> {
    const { agentPort = 0 } = this.config.nodes[0] ?? {};
    const answer = await fetch(`http://127.0.0.1:${agentPort}/v1/topology`).catch(() => null);
    return ((await answer?.json()) as { leader?: string | null } | undefined)?.leader === 'n1';
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const running of this.#running) await running.kill();
    await rm(this.folder, { recursive: true, force: true, maxRetries: 5 });
  }
}
