import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type pg from 'pg';
import { createToken, writeRegions } from '../../src/cli/regions/regions-folder.ts';
import type { RegionPlace } from '../../src/cli/regions/regions-folder.ts';
import { askStatus } from '../../src/cli/regions/ask-region.ts';
import { reachableBinaries, resolveAccount } from '../../src/postgres/account.ts';
import { findPostgres } from '../../src/postgres/binaries.ts';
import { freePort, ServerFixture, until } from '../../test/integration/fixture.ts';

/** One server, and what is beside it. */
export interface BenchServer {
  readonly name: string;
  readonly url: string;
  readonly client: pg.Client;
  readonly pid: number;
}

const PROMOTE_TIMEOUT_MS = 30_000;

/** Servers of one build, and regions' processes on them, each as it is shipped. */
export class BenchServers implements AsyncDisposable {
  readonly #fixture: ServerFixture;
  readonly #clients: pg.Client[] = [];
  readonly #processes: ChildProcess[] = [];
  readonly #folders: string[] = [];
  readonly version: string;

  private constructor(fixture: ServerFixture) {
    this.#fixture = fixture;
    this.version = fixture.binaries.version;
  }

  static async create(): Promise<BenchServers> {
    const binaries = await reachableBinaries(await findPostgres('embedded'), await resolveAccount());
    return new BenchServers(await ServerFixture.create(binaries));
  }

  /** `settings` in place of what a region's server has. */
  async start(name: string, settings: Readonly<Record<string, string>> = {}): Promise<BenchServer> {
    await this.#fixture.initialize(name);
    const port = await freePort();
    const server = await this.#fixture.start(name, port);
    await server.promote(PROMOTE_TIMEOUT_MS);
    const all = { ...settings, max_slot_wal_keep_size: '-1' };
    const first = await server.connect();
    for (const [key, value] of Object.entries(all)) await first.query(`ALTER SYSTEM SET ${key} = '${value}'`);
    await first.end();
    await server.stop('fast');
    await server.startAlone();
    const client = await server.connect();
    this.#clients.push(client);
    const { user, password } = this.#fixture.address(port);
    const pidFile = await readFile(join(this.#fixture.dataDir(name), 'postmaster.pid'), 'utf8');
    const url = `postgresql://${user}:${password}@127.0.0.1:${port}/postgres`;
    return { name, url, client, pid: Number.parseInt(pidFile, 10) };
  }

  /**
   * Starts a process for each region and resolves once all links run. `urlFor`: where a region reaches another one, when
   * something stands in between. Returns the processes' ids by region.
   */
  async startRegions(
    servers: readonly BenchServer[],
    definition: string | null,
    urlFor: (of: BenchServer, seenFrom: BenchServer) => string = ({ url }) => url,
  ): Promise<ReadonlyMap<string, number>> {
    const token = createToken();
    const ports = await Promise.all(servers.map(() => freePort()));
    const placesFor = (seenFrom: BenchServer): RegionPlace[] =>
      servers.map((server, index) => ({
        name: server.name,
        url: urlFor(server, seenFrom),
        host: '127.0.0.1',
        apiPort: ports[index] ?? 0,
      }));
    const pids = new Map<string, number>();
    for (const server of servers) {
      const folder = await mkdtemp(join(tmpdir(), 'lockstep-bench-region-'));
      this.#folders.push(folder);
      await writeRegions(folder, { definition, token, regions: placesFor(server) });
      const child = this.#spawn(server.name, folder);
      pids.set(server.name, child.pid ?? 0);
    }
    const [first] = servers;
    if (first === undefined) return pids;
    const config = { definition, token, regions: placesFor(first) };
    for (const region of config.regions) {
      await until(`region ${region.name} is linked`, async () => {
        const status = await askStatus(config, region);
        return status?.links.every(({ state }) => state === 'streaming') === true;
      });
    }
    return pids;
  }

  #spawn(name: string, folder: string): ChildProcess {
    const script = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));
    const words = ['regions', 'run', name, '--state', folder, '--until-stdin-closes'];
    const child = spawn(process.execPath, [script, ...words], { stdio: ['pipe', 'ignore', 'inherit'] });
    child.stdin?.on('error', () => undefined);
    this.#processes.push(child);
    return child;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const child of this.#processes) {
      const isGone = child.exitCode !== null || child.signalCode !== null;
      const exited = isGone ? null : once(child, 'exit');
      child.kill('SIGTERM');
      await exited;
    }
    await Promise.all(this.#clients.map((client) => client.end().catch(() => undefined)));
    await this.#fixture[Symbol.asyncDispose]();
    for (const folder of this.#folders) await rm(folder, { recursive: true, force: true });
  }
}
