import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { LockstepError } from '../../model/errors.ts';
import { SUPERUSER } from '../../postgres/settings.ts';
import { parseRegionNames } from '../../multi-leader/definition.ts';
import { dataNodes } from '../../leader-follower/config/config.ts';
import type { ClusterConfig } from '../../leader-follower/config/config.ts';
import { fetchTopology } from '../commands/local-cluster.ts';
import { startApp } from '../dev/app-process.ts';
import type { AppProcess } from '../dev/app-process.ts';
import { toPlainText } from '../screen/text-width.ts';
import { appUrl, openClusterFolder, psqlLine } from '../dev/cluster-folder.ts';
import type { ClusterFolder } from '../dev/cluster-folder.ts';
import { choosePorts } from '../dev/ports.ts';
import { Supervisor } from '../dev/supervisor.ts';
import { startWorldServer } from '../../admin/world/world-server.ts';
import { addRegion } from './add-command.ts';
import { askStatus } from './ask-region.ts';
import { createWorldSource } from './world-source.ts';
import { startRegionProcess } from './region-process.ts';
import type { RegionProcess } from './region-process.ts';
import { createToken, readRegions, writeRegions } from './regions-folder.ts';
import type { RegionPlace } from './regions-folder.ts';

export interface DevRegionsOptions {
  readonly state: string;
  readonly regions: readonly string[];
  /** Path of a definition; null shares everything. */
  readonly definition: string | null;
  /** Nodes of each region. */
  readonly nodes: number | null;
  readonly pgPort: number | null;
  readonly dashboardPort: number | null;
  readonly postgres: string | null;
  /** Creates the tables in one region's database, named by DATABASE_URL, and ends. */
  readonly prepare: string | null;
  /** An app for each region, with DATABASE_URL and LOCKSTEP_REGION set. */
  readonly run: string | null;
}

const DEFAULT_PG_PORT = 5441;
const DEFAULT_DASHBOARD_PORT = 7400;
const FIRST_AGENT_PORT = 7411;
const FIRST_API_PORT = 7451;
const READY_TIMEOUT_MS = 120_000;
const SAME_SIGNAL_MS = 1_000;

interface RunningRegion {
  readonly name: string;
  readonly folder: ClusterFolder;
  readonly supervisor: Supervisor;
  readonly place: RegionPlace;
}

/** `lockstep dev --regions`: a cluster for each region on this machine, linked, and an app on each, until Ctrl-C. */
export async function runDevRegions(options: DevRegionsOptions): Promise<void> {
  const dev = new DevRegions(options);
  let stoppedAtMs: number | null = null;
  const stopped = new Promise<void>((done) => {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
      process.on(signal, () => {
        // What was started goes with this process. npm hands on what the terminal sends too, so that one Ctrl-C may come twice.
        if (stoppedAtMs !== null && performance.now() - stoppedAtMs > SAME_SIGNAL_MS) process.exit(1);
        stoppedAtMs ??= performance.now();
        done();
      });
  });
  try {
    await Promise.race([stopped, dev.start().then(() => stopped)]);
  } finally {
    await dev.stop();
  }
}

class DevRegions {
  readonly #options: DevRegionsOptions;
  readonly #names: readonly string[];
  readonly #regions: RunningRegion[] = [];
  readonly #processes: RegionProcess[] = [];
  readonly #apps: AppProcess[] = [];
  readonly #appUrls = new Map<string, string>();
  #world: { readonly url: string; close(): Promise<void> } | null = null;
  #starting: Promise<void> = Promise.resolve();
  readonly #stopping = new AbortController();

  constructor(options: DevRegionsOptions) {
    this.#options = options;
    this.#names = parseRegionNames(options.regions);
  }

  /** Resolves early when it is stopped. */
  start(): Promise<void> {
    this.#starting = this.#start();
    return this.#starting;
  }

  async #start(): Promise<void> {
    const startedAt = performance.now();
    await this.#checkFolders();
    await this.#startServers();
    const { run, state } = this.#options;
    let founders: readonly RunningRegion[] = [];
    const steps = [
      // Each region's tables must be there before its log is read, and the log before anything is written.
      () => this.#prepareTables(),
      async () => {
        founders = await this.#findFounders();
        await this.#writeConfig(founders);
      },
      () => this.#startProcesses(founders),
      () => this.#untilLinked(founders),
      () => this.#letJoin(this.#regions.filter((region) => !founders.includes(region))),
      () => this.#openWorld(),
    ];
    for (const step of steps) {
      if (this.#isStopping) return;
      await step();
    }
    if (this.#isStopping) return;
    this.#say(
      'dev',
      `${this.#names.length} regions ready in ${((performance.now() - startedAt) / 1_000).toFixed(1)} s; "lockstep regions status" shows their links`,
    );
    for (const { name } of this.#regions) this.#say(name, psqlLine(regionFolder(state, name)));
    if (run !== null) await this.#startApps(run);
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    await Promise.all(this.#apps.map((app) => app.stop()));
    // What it opens is there to be closed then.
    await this.#starting.catch(() => undefined);
    await this.#world?.close();
    await Promise.all(this.#processes.map((process) => process.stop()));
    await Promise.all(
      this.#regions.map(async ({ supervisor, folder }) => {
        const leader = await fetchTopology(folder.config).then(
          (topology) => topology.leader,
          () => null,
        );
        await supervisor.stopAll(leader);
      }),
    );
  }

  get #isStopping(): boolean {
    return this.#stopping.signal.aborted;
  }

  async #prepareTables(): Promise<void> {
    const { prepare } = this.#options;
    if (prepare === null) return;
    const { signal } = this.#stopping;
    await Promise.all(this.#regions.map(({ folder, name }) => runOnce(prepare, folder.config, name, signal)));
  }

  async #startServers(): Promise<void> {
    const { state, pgPort, postgres } = this.#options;
    const nodes = this.#options.nodes ?? 1;
    const count = this.#names.length;
    const first = pgPort ?? DEFAULT_PG_PORT;
    const exact = { isExact: pgPort !== null, flag: '--pg-port' };
    const ports = await choosePorts(first, count * nodes, exact);
    const free = { isExact: false, flag: 'apiPort in regions.json' };
    const agentPorts = await choosePorts(FIRST_AGENT_PORT, count * nodes, { ...free, except: ports });
    const apiPorts = await choosePorts(FIRST_API_PORT, count, { ...free, except: [...ports, ...agentPorts] });
    for (const [index, name] of this.#names.entries()) {
      if (this.#isStopping) return;
      const folder = await openClusterFolder({
        stateDir: regionFolder(state, name),
        nodes,
        witness: false,
        etcd: null,
        pgPort: ports[index * nodes] ?? null,
        agentPort: agentPorts[index * nodes] ?? null,
        postgres,
      });
      const supervisor = new Supervisor({
        ...folder,
        onExit: (node, reason) => {
          if (!this.#isStopping) this.#say(name, `${node} stopped: ${reason}`);
        },
      });
      const place: RegionPlace = {
        name,
        url: superuserUrl(folder.config),
        host: '127.0.0.1',
        apiPort: apiPorts[index] ?? 0,
      };
      this.#regions.push({ name, folder, supervisor, place });
      await supervisor.startAll();
    }
    await Promise.all(
      this.#regions.map(({ folder, name }) =>
        this.#untilSo(
          `region ${name} has a leader`,
          async () => (await fetchTopology(folder.config)).leader !== null,
        ),
      ),
    );
  }

  async #openWorld(): Promise<void> {
    const { state, dashboardPort } = this.#options;
    const wanted = { isExact: dashboardPort !== null, flag: '--dashboard-port' };
    const [port = 0] = await choosePorts(dashboardPort ?? DEFAULT_DASHBOARD_PORT, 1, wanted);
    const source = createWorldSource(state, await readRegions(state), this.#appUrls);
    this.#world = await startWorldServer({ port, source });
    this.#say('dev', `dashboard: ${this.#world.url}`);
  }

  /** A region that joined from elsewhere has no server here, and an empty one in its place would let them disagree. */
  async #checkFolders(): Promise<void> {
    const { state } = this.#options;
    const known = await readRegions(state).catch(() => null);
    const foreign = known?.regions.find(({ name }) => !existsSync(regionFolder(state, name)));
    if (foreign === undefined) return;
    throw new LockstepError(
      'CONFIG_INVALID',
      `Run each region with "lockstep regions run" instead: ${foreign.name} of ${state}/regions.json has its server elsewhere. Nothing was started.`,
    );
  }

  /** Those that were here before, where others are named behind them now; else all. */
  async #findFounders(): Promise<readonly RunningRegion[]> {
    const known = await readRegions(this.#options.state).catch(() => null);
    const names = known?.regions.map(({ name }) => name) ?? [];
    const isLonger = names.length > 0 && names.every((name, index) => this.#names[index] === name);
    return isLonger ? this.#regions.slice(0, names.length) : this.#regions;
  }

  async #startProcesses(regions: readonly RunningRegion[]): Promise<void> {
    const { state } = this.#options;
    for (const { name } of regions) {
      if (this.#isStopping) return;
      this.#processes.push(await startRegionProcess(state, name, (line) => this.#say(name, line)));
    }
  }

  /** Each copies what the others have, and then all are run with it. */
  async #letJoin(newcomers: readonly RunningRegion[]): Promise<void> {
    const { state } = this.#options;
    for (const { name, place } of newcomers) {
      if (this.#isStopping) return;
      this.#say(name, 'joins the others, and copies what they have');
      await addRegion({ state, place, from: null, patienceMs: READY_TIMEOUT_MS });
      await Promise.all(this.#processes.splice(0).map((process) => process.stop()));
      const joined = this.#regions.slice(0, this.#regions.findIndex((region) => region.name === name) + 1);
      await this.#startProcesses(joined);
      await this.#untilLinked(joined);
    }
  }

  async #writeConfig(founders: readonly RunningRegion[]): Promise<void> {
    const known = await readRegions(this.#options.state).catch(() => null);
    const definition = this.#options.definition;
    await writeRegions(this.#options.state, {
      definition: definition === null ? null : resolve(definition),
      token: known?.token ?? createToken(),
      regions: founders.map(({ place }) => place),
    });
  }

  async #untilLinked(regions: readonly RunningRegion[]): Promise<void> {
    const config = await readRegions(this.#options.state);
    for (const { place, name } of regions) {
      await this.#untilSo(`region ${name} is linked`, async () => {
        const status = await askStatus(config, place);
        return status?.links.every(({ state }) => state === 'streaming' || state === 'cut') === true;
      });
    }
  }

  /** One after the other: what the first fills its database with has reached the others before theirs begin. */
  async #startApps(command: string): Promise<void> {
    for (const [index, { name, folder }] of this.#regions.entries()) {
      if (index === 1) await this.#untilCaughtUp();
      if (this.#isStopping) return;
      const opened = new Promise<void>((resolve) => {
        this.#stopping.signal.addEventListener('abort', () => resolve());
        this.#apps.push(
          startApp({
            command,
            databaseUrl: appUrl(folder.config),
            environment: this.#environmentOf(name),
            onLine: (line) => this.#say(name, line),
            onAddress: (url) => {
              this.#appUrls.set(name, url);
              resolve();
            },
            onExit: (code) => {
              this.#say(name, `the app ended with code ${code}; the regions go on`);
              resolve();
            },
          }),
        );
      });
      await opened;
    }
  }

  /** An app may show the other regions beside its own. */
  #environmentOf(name: string): Readonly<Record<string, string>> {
    const urls = this.#regions.map((region) => [region.name, appUrl(region.folder.config)]);
    return { LOCKSTEP_REGION: name, LOCKSTEP_REGION_URLS: JSON.stringify(Object.fromEntries(urls)) };
  }

  /** Everything written before the call is everywhere, except behind links that are cut. */
  async #untilCaughtUp(): Promise<void> {
    const since = Date.now();
    const config = await readRegions(this.#options.state);
    for (const { place, name } of this.#regions) {
      await this.#untilSo(`region ${name} has caught up`, async () => {
        const status = await askStatus(config, place);
        return (
          status?.links.every(
            ({ state, promisedAtMs }) => state === 'cut' || (promisedAtMs !== null && promisedAtMs > since),
          ) === true
        );
      });
    }
  }

  /** Resolves also when all is stopped. */
  async #untilSo(what: string, isSo: () => Promise<boolean>): Promise<void> {
    const deadlineMs = performance.now() + READY_TIMEOUT_MS;
    while (!this.#isStopping && !(await isSo().catch(() => false))) {
      if (performance.now() > deadlineMs)
        throw new LockstepError('NO_LEADER', `Waited ${READY_TIMEOUT_MS / 1_000} s in vain until ${what}.`);
      await delay(100);
    }
  }

  #say(who: string, text: string): void {
    process.stdout.write(`${who.padEnd(4)} ${toPlainText(text)}\n`);
  }
}

function regionFolder(state: string, name: string): string {
  return join(resolve(state), 'regions', name);
}

function superuserUrl(config: ClusterConfig): string {
  const hosts = dataNodes(config).map((node) => `${node.host}:${node.port}`);
  return `postgresql://${SUPERUSER}:${config.secrets.superuser}@${hosts.join(',')}/${config.database}`;
}

async function runOnce(
  command: string,
  config: ClusterConfig,
  region: string,
  signal: AbortSignal,
): Promise<void> {
  const child = spawn(command, {
    shell: true,
    signal,
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { ...process.env, DATABASE_URL: appUrl(config), LOCKSTEP_REGION: region },
  });
  let words = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => (words = `${words}${text}`.slice(-2_000)));
  const [code] = (await once(child, 'close')) as [number | null];
  if (code === 0) return;
  throw new LockstepError(
    'CONFIG_INVALID',
    `"${command}" failed in region ${region}: ${words.trim().split('\n').at(-1) ?? `code ${code}`}`,
  );
}
