import { randomBytes } from 'node:crypto';
import { chmod, mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { resolveAccount } from '../../src/postgres/account.ts';
import type { PostgresAccount } from '../../src/postgres/account.ts';
import type { PostgresBinaries } from '../../src/postgres/binaries.ts';
import { createDataFolder, writeSettings } from '../../src/postgres/data-folder.ts';
import type { ServerAddress } from '../../src/postgres/replication-connection.ts';
import { PostgresServer } from '../../src/postgres/server.ts';
import { renderConnInfo, REPLICATED_NODE_SETTINGS, SUPERUSER } from '../../src/postgres/settings.ts';
import { freePorts } from '../../src/testing/free-ports.ts';

/** A port nobody listens on right now. */
export async function freePort(): Promise<number> {
  const [port = 0] = await freePorts(1);
  return port;
}

/**
 * Polls until the condition gives a value that is not false, null or undefined; fails after the deadline. What is not
 * there (a field that nobody prints) is no yes.
 */
export async function until<T extends {}>(
  what: string,
  condition: () => Promise<T | false | null | undefined> | T | false | null | undefined,
  deadlineMs = 60_000,
): Promise<T> {
  const deadline = Date.now() + deadlineMs;
  let last: unknown;
  for (;;) {
    try {
      const value = await condition();
      if (value !== false && value !== null && value !== undefined) return value;
      last = value;
    } catch (error) {
      last = error;
    }
    if (Date.now() > deadline)
      throw new Error(`not within ${deadlineMs} ms: ${what} (last: ${String(last)})`, { cause: last });
    await delay(20);
  }
}

/** PostgreSQL servers in a folder of their own; all are ended and removed with it, also when the test fails. */
export class ServerFixture implements AsyncDisposable {
  readonly #binaries: PostgresBinaries;
  readonly #password = randomBytes(12).toString('hex');
  readonly #servers: PostgresServer[] = [];
  readonly root: string;
  /** Where servers listen, by name; 127.0.0.1 for those not in it. */
  readonly hosts: Map<string, string> = new Map();
  readonly account: PostgresAccount | null;

  private constructor(binaries: PostgresBinaries, root: string, account: PostgresAccount | null) {
    this.#binaries = binaries;
    this.root = root;
    this.account = account;
  }

  static async create(binaries: PostgresBinaries): Promise<ServerFixture> {
    const root = await mkdtemp(join(tmpdir(), 'lockstep-test-'));
    await chmod(root, 0o755);
    return new ServerFixture(binaries, root, await resolveAccount());
  }

  get binaries(): PostgresBinaries {
    return this.#binaries;
  }

  dataDir(name: string): string {
    return join(this.root, name, 'data');
  }

  async initialize(name: string): Promise<void> {
    await mkdir(join(this.root, name), { recursive: true });
    await createDataFolder({
      binaries: this.#binaries,
      account: this.account,
      dataDir: this.dataDir(name),
      superuserPassword: this.#password,
    });
  }

  address(port: number): ServerAddress {
    return { host: '127.0.0.1', port, user: SUPERUSER, password: this.#password };
  }

  /** Starts `name` as a follower of the server on `leaderPort`, or of nobody. */
  async start(
    name: string,
    port: number,
    leaderPort: number | null = null,
    onUnexpectedExit: (reason: string) => void = () => undefined,
  ): Promise<PostgresServer> {
    const server = this.server(name, port, onUnexpectedExit);
    await this.configure(name, port, leaderPort);
    await server.startAsFollower();
    return server;
  }

  server(
    name: string,
    port: number,
    onUnexpectedExit: (reason: string) => void = () => undefined,
  ): PostgresServer {
    const server = new PostgresServer({
      binaries: this.#binaries,
      account: this.account,
      dataDir: this.dataDir(name),
      logPath: join(this.root, name, 'postgres.log'),
      host: this.#hostsOf(name)[0] ?? '127.0.0.1',
      port,
      superuserPassword: this.#password,
      onUnexpectedExit,
    });
    this.#servers.push(server);
    return server;
  }

  async configure(name: string, port: number, leaderPort: number | null): Promise<void> {
    await writeSettings(
      this.dataDir(name),
      this.account,
      {
        ...REPLICATED_NODE_SETTINGS,
        listen_addresses: this.#hostsOf(name).join(','),
        port,
        primary_conninfo:
          leaderPort === null ? '' : renderConnInfo({ ...this.address(leaderPort), application_name: name }),
      },
      { nodes: ['127.0.0.1/32'], clients: [] },
    );
  }

  #hostsOf(name: string): string[] {
    return (this.hosts.get(name) ?? '127.0.0.1').split(',');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#servers.map((server) => server.stop('immediate', 3_000)));
    await rm(this.root, { recursive: true, force: true });
  }
}
