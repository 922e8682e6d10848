import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { chmod, chown, mkdtemp, open, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import type { PostgresAccount } from '../../../src/postgres/account.ts';
import { freePort } from '../../../test/integration/fixture.ts';
import type { Address, Login } from '../servers.ts';
import { findProgram } from '../../peers/programs.ts';
import type { PeerProgram } from '../../peers/programs.ts';

/** What a proxy's configuration is made from. */
export interface ProxySetup {
  /** For configuration, pid file and log; the proxy's user may write there. */
  readonly folder: string;
  readonly port: number;
  /** Leader first. */
  readonly backends: readonly Address[];
  readonly login: Login;
  readonly connections: number;
}

/** How one proxy is configured and started. */
export interface ProxyKind {
  readonly program: PeerProgram;
  /** Contents by file name. */
  readonly files: (setup: ProxySetup) => Readonly<Record<string, string>>;
  readonly args: (folder: string) => readonly string[];
}

const READY_TIMEOUT_MS = 20_000;
const STOP_PATIENCE_MS = 3_000;

/** A proxy in front of PostgreSQL, in a temporary folder, on a free port of the loopback. */
export class Proxy implements AsyncDisposable {
  readonly address: Address;
  readonly #child: ChildProcess;
  readonly #exited: Promise<void>;
  readonly #folder: string;

  private constructor(child: ChildProcess, address: Address, folder: string) {
    this.#child = child;
    this.address = address;
    this.#folder = folder;
    this.#exited = new Promise((resolve) => child.once('exit', () => resolve()));
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /** Null when the program is not installed. Throws the proxy's own words when it does not come up. */
  static async start(
    kind: ProxyKind,
    account: PostgresAccount | null,
    setup: Omit<ProxySetup, 'folder' | 'port'>,
  ): Promise<Proxy | null> {
    const program = findProgram(kind.program);
    if (program === null) return null;
    const folder = await mkdtemp(join(tmpdir(), 'lockstep-proxy-'));
    const port = await freePort();
    const files = kind.files({ ...setup, folder, port });
    for (const [name, text] of Object.entries(files))
      await writeFile(join(folder, name), text, { mode: 0o600 });
    await chmod(folder, 0o700);
    if (account !== null) {
      for (const name of ['', ...Object.keys(files)])
        await chown(join(folder, name), account.uid, account.gid);
    }
    const log = await open(join(folder, 'log'), 'a');
    const child = spawn(program, [...kind.args(folder)], {
      cwd: folder,
      stdio: ['ignore', log.fd, log.fd],
      ...(account === null ? {} : { uid: account.uid, gid: account.gid }),
    });
    await log.close();
    const proxy = new Proxy(child, { host: '127.0.0.1', port }, folder);
    try {
      await proxy.#untilReady(kind.program.name, setup.login);
      return proxy;
    } catch (error) {
      await proxy[Symbol.asyncDispose]();
      throw error;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) {
      // "Fast" for all three: SIGTERM would let pgpool and HAProxy wait for their clients.
      this.#child.kill('SIGINT');
      const isGone = await Promise.race([
        this.#exited.then(() => true),
        delay(STOP_PATIENCE_MS, false, { ref: false }),
      ]);
      if (!isGone) this.#child.kill('SIGKILL');
      await this.#exited;
    }
    await rm(this.#folder, { recursive: true, force: true });
  }

  async #untilReady(name: string, login: Login): Promise<void> {
    const deadlineMs = performance.now() + READY_TIMEOUT_MS;
    for (;;) {
      const failure = await tryOnce({ ...this.address, ...login });
      if (failure === null) return;
      if (this.#child.exitCode !== null || performance.now() > deadlineMs) {
        const log = await readFile(join(this.#folder, 'log'), 'utf8').catch(() => '');
        throw new Error(`${name} did not come up: ${failure}\n${log.split('\n').slice(-15).join('\n')}`);
      }
      await delay(100);
    }
  }
}

async function tryOnce(config: pg.ClientConfig): Promise<string | null> {
  const client = new pg.Client({ ...config, connectionTimeoutMillis: 3_000 });
  client.on('error', () => undefined);
  try {
    await client.connect();
    await client.query('SELECT $1::int', [1]);
    return null;
  } catch (error) {
    return (error as Error).message;
  } finally {
    await client.end().catch(() => undefined);
  }
}
