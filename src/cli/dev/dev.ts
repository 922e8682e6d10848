import { randomBytes } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import { resolve } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { createClusterSource } from '../../admin/cluster-source.ts';
import type { ClusterSource } from '../../admin/cluster-source.ts';
import { startAdminServer } from '../../admin/server.ts';
import type { AdminServer } from '../../admin/server.ts';
import type { AdminCommands, DashboardLinks } from '../../admin/source.ts';
import { agentUrl, dataNodes, delayMsOf, findNode, kindOf } from '../../leader-follower/config/config.ts';
import type { ClusterConfig } from '../../leader-follower/config/config.ts';
import type { NodesAnswer } from '../../leader-follower/config/node-schema.ts';
import { LockstepError } from '../../model/errors.ts';
import type { ClusterEvent, Topology } from '../../model/topology.ts';
import { isWholeCluster } from '../../model/whole-cluster.ts';
import { assertFreeSpace } from '../../postgres/data-folder.ts';
import { processStart } from '../../host/process-start.ts';
import { askAgent, askForNodesAnswer, newsVerifierOf } from '../commands/agent-request.ts';
import { startApp } from './app-process.ts';
import type { AppProcess } from './app-process.ts';
import {
  appUrl,
  openClusterFolder,
  psqlLine,
  removeRunFile,
  writeConfig,
  writePsqlFiles,
  writeRunFile,
} from './cluster-folder.ts';
import type { ClusterFolder } from './cluster-folder.ts';
import { findNodeChanges, NodeWatch } from './dev-nodes.ts';
import { createLiveScreen } from './live-screen.ts';
import type { LiveScreen } from './live-screen.ts';
import { rescueActions } from '../rescue/rescue-actions.ts';
import { addNode } from '../commands/node-command.ts';
import { choosePorts } from './ports.ts';
import { StartWatch } from './readiness.ts';
import { LeaderlessServers } from '../leaderless/servers.ts';
import { Supervisor } from './supervisor.ts';
import { SWITCHOVER_TIMEOUT_MS } from '../commands/switchover-command.ts';

export interface DevOptions {
  readonly state: string;
  readonly nodes: number | null;
  readonly witness: boolean;
  readonly delayed: string | null;
  readonly pgPort: number | null;
  readonly dashboardPort: number | null;
  readonly postgres: string | null;
  readonly etcd: readonly string[] | null;
  readonly run: string | null;
  /** Whether three independent servers run beside the cluster. */
  readonly leaderless: boolean;
}

const DEFAULT_DASHBOARD_PORT = 7400;
/** A data folder after initdb, its log files, and room to work, for each node. */
const BYTES_PER_NODE = 300 * 1_048_576;

/** `lockstep dev`: a local cluster with dashboard and live view, until Ctrl-C. */
export async function runDev(options: DevOptions): Promise<void> {
  const stateDir = resolve(options.state);
  const folder = await openClusterFolder({
    stateDir,
    nodes: options.nodes,
    witness: options.witness,
    delayed: options.delayed,
    pgPort: options.pgPort,
    postgres: options.postgres,
    etcd: options.etcd,
  });
  await mkdir(folder.dataRoot, { recursive: true, mode: 0o755 });
  await assertFreeSpace(folder.dataRoot, BYTES_PER_NODE * dataNodes(folder.config).length);
  const dev = new DevCluster(stateDir, folder);
  const stopped = new Promise<void>((done) => {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => done());
  });
  const failed = dev.failure.then((error) => {
    throw error;
  });
  try {
    await dev.start(options.dashboardPort);
    if (options.leaderless) await dev.startLeaderless();
    await Promise.race([stopped, failed, dev.serve(options).then(() => stopped)]);
  } finally {
    await dev.stop();
  }
}

/** Everything that runs below `lockstep dev`. */
class DevCluster {
  readonly #stateDir: string;
  readonly #folder: ClusterFolder;
  #config: ClusterConfig;
  readonly #supervisor: Supervisor;
  readonly #source: ClusterSource;
  readonly #nodeWatch: NodeWatch;
  readonly #screen: LiveScreen;
  readonly #links: { dashboardUrl?: string; shopUrl?: string; psql?: string } = {};
  readonly #notes: ClusterEvent[] = [];
  readonly failure: Promise<Error>;
  #fail: (error: Error) => void = () => undefined;
  #isReady = false;
  readonly #startedAtMs = performance.now();
  #isStopping = false;
  #nodeChanges: Promise<void> = Promise.resolve();
  #admin: AdminServer | null = null;
  #app: AppProcess | null = null;
  #leaderless: LeaderlessServers | null = null;

  constructor(stateDir: string, folder: ClusterFolder) {
    this.#stateDir = stateDir;
    this.#folder = folder;
    this.#config = folder.config;
    this.failure = new Promise((resolve) => (this.#fail = resolve));
    this.#supervisor = new Supervisor({
      ...folder,
      onExit: (node, reason, isFailure) => this.#onAgentExit(node, reason, isFailure),
    });
    this.#source = createClusterSource({
      agentUrls: this.#config.nodes.map(agentUrl),
      verify: newsVerifierOf(this.#config),
      fallback: emptyTopology(this.#config),
    });
    const color = process.stdout.isTTY && process.env['NO_COLOR'] === undefined;
    this.#screen = createLiveScreen({ output: process.stdout, color });
    this.#nodeWatch = new NodeWatch({
      config: () => this.#config,
      ask: () => askForNodesAnswer(this.#config),
      onNodes: (answer) => this.#followNodes(answer),
    });
    this.#source.subscribe(() => {
      const topology = this.#source.topology();
      if (topology !== null) this.#nodeWatch.hint(topology);
      this.#paint();
    });
  }

  async start(dashboardPort: number | null): Promise<void> {
    for (const note of this.#folder.notes) this.#note(note);
    const [port = 0] = await choosePorts(dashboardPort ?? DEFAULT_DASHBOARD_PORT, 1, {
      isExact: dashboardPort !== null,
      flag: '--dashboard-port',
    });
    const links: DashboardLinks & { shopUrl?: string } = Object.defineProperties(
      { psql: psqlLine(this.#stateDir) },
      { shopUrl: { enumerable: true, get: () => this.#links.shopUrl } },
    );
    const token = randomBytes(24).toString('base64url');
    const pageKey = randomBytes(12).toString('base64url');
    this.#admin = await startAdminServer({
      host: '127.0.0.1',
      port,
      source: {
        ...bindView(this.#source),
        commands: this.#commands(),
        quorum: async () => (await this.#leaderless?.look()) ?? null,
        rescue: rescueActions({ state: this.#stateDir }),
        token,
        pageKey,
      },
      links,
    });
    if (port !== (dashboardPort ?? DEFAULT_DASHBOARD_PORT)) {
      this.#note(`port ${DEFAULT_DASHBOARD_PORT} is in use; the dashboard is on ${port}`);
    }
    this.#links.dashboardUrl = `${this.#admin.url}/#key=${pageKey}`;
    this.#links.psql = psqlLine(this.#stateDir);
    await writeRunFile(this.#stateDir, {
      pid: process.pid,
      startedAt: processStart(process.pid),
      adminUrl: this.#admin.url,
      token,
    });
    this.#note(`starting ${this.#config.nodes.map(({ name }) => name).join(', ')}`);
    await this.#supervisor.startAll();
    this.#paint();
  }

  /** Independent servers, which the app finds in LEADERLESS_URLS. */
  async startLeaderless(): Promise<void> {
    const { dataRoot } = this.#folder;
    this.#leaderless = await LeaderlessServers.open({
      stateDir: this.#stateDir,
      dataRoot,
      cluster: this.#config,
      onNote: (message) => this.#note(message),
    });
    await this.#leaderless.startAll();
    this.#note('three independent servers are up: q1, q2, q3; see "lockstep leaderless status"');
  }

  /** Waits until the cluster is whole, then starts the app. */
  async serve({ run: command, delayed }: Pick<DevOptions, 'run' | 'delayed'>): Promise<void> {
    const watch = new StartWatch(this.#folder.dataRoot, performance.now(), (message) => this.#note(message));
    for (;;) {
      const topology = this.#source.topology();
      if (topology !== null && isWholeCluster(topology, 'switchover')) break;
      if (this.#isStopping) return;
      watch.look(topology, performance.now());
      await delay(50);
    }
    this.#isReady = true;
    this.#note(
      `cluster ready in ${((performance.now() - this.#startedAtMs) / 1_000).toFixed(1)} s: dashboard ${this.#links.dashboardUrl}`,
    );
    if (!process.stdout.isTTY) process.stdout.write(`${this.#links.psql}\n`);
    if (command !== null && !this.#isStopping) this.#startApp(command);
    if (delayed !== null) void this.#addDelayed(delayed);
  }

  /** To a cluster that was begun without. */
  async #addDelayed(delay: string): Promise<void> {
    const { nodes } = this.#config;
    if (nodes.some((node) => node.delay !== undefined)) return;
    const numbers = nodes.map(({ name }) => Number(/^n(\d+)$/.exec(name)?.[1] ?? 0));
    const options = { state: this.#stateDir, priority: 0, vote: false, delay };
    await addNode(`n${Math.max(...numbers) + 1}`, options).catch((error: unknown) =>
      this.#note(`no delayed node was added: ${(error as Error).message}`),
    );
  }

  async stop(): Promise<void> {
    this.#isStopping = true;
    this.#nodeWatch.close();
    this.#note('stopping');
    await this.#nodeChanges;
    const leader = this.#source.topology()?.leader ?? null;
    await this.#app?.stop();
    await this.#leaderless?.stopAll();
    await this.#supervisor.stopAll(leader);
    await this.#admin?.close();
    this.#source.close();
    await removeRunFile(this.#stateDir);
    this.#screen.close();
  }

  #startApp(command: string): void {
    this.#app = startApp({
      command,
      databaseUrl: appUrl(this.#config),
      environment: this.#leaderless === null ? {} : { LEADERLESS_URLS: this.#leaderless.urls.join(' ') },
      onLine: (line) => this.#note(line),
      onAddress: (url) => {
        this.#links.shopUrl = url;
        this.#paint();
      },
      onExit: (code) => this.#note(`the app ended with code ${code}; the cluster goes on`),
    });
  }

  #commands(): AdminCommands {
    return {
      kill: (node) => this.#runnerOf(node).kill(node),
      start: (node) => this.#runnerOf(node).start(node),
      others: () => this.#leaderless?.names ?? [],
      switchover: (to) => this.#switchover(to),
    };
  }

  #runnerOf(node: string): Pick<Supervisor, 'kill' | 'start'> {
    return this.#leaderless?.names.includes(node) === true ? this.#leaderless : this.#supervisor;
  }

  async #switchover(to?: string): Promise<{ from: string; to: string; pausedMs: number }> {
    if (to !== undefined) findNode(this.#config, to);
    const leader = this.#source.topology()?.leader;
    if (leader == null) {
      throw new LockstepError(
        'NO_LEADER',
        'There is no leader to hand over right now; see "lockstep status".',
        { retryable: true },
      );
    }
    return askAgent(this.#config, findNode(this.#config, leader), {
      path: '/v1/switchover',
      body: to === undefined ? {} : { to },
      timeoutMs: SWITCHOVER_TIMEOUT_MS,
    });
  }

  /** Before the cluster was ever whole, an agent that cannot run is a reason to stop; later it is an event. */
  #onAgentExit(node: string, reason: string, isFailure: boolean): void {
    if (this.#isStopping) return;
    if (!this.#isReady && isFailure)
      this.#fail(new LockstepError('CONFIG_INVALID', `Node ${node} could not start: ${reason}`));
    else if (!isFailure) this.#note(reason);
    else this.#note(`"lockstep start ${node}" starts it again: it stopped. ${reason}`);
  }

  /** Starts nodes that were added to the cluster, and forgets those that were removed: they stop by themselves. */
  #followNodes(answer: NodesAnswer): void {
    const changes = findNodeChanges(this.#config, answer);
    if (changes === null || this.#isStopping) return;
    this.#config = changes.config;
    this.#supervisor.use(changes.config);
    this.#nodeChanges = this.#nodeChanges
      .then(async () => {
        await writeConfig(this.#folder.configPath, changes.kept);
        await writePsqlFiles(this.#stateDir, changes.config);
        for (const { name } of changes.added) await this.#supervisor.start(name);
      })
      .catch((error: unknown) => this.#note((error as Error).message));
  }

  #note(message: string): void {
    this.#notes.push({ at: Date.now(), node: 'dev', kind: 'note', message });
    if (this.#notes.length > 100) this.#notes.shift();
    this.#paint();
  }

  #paint(): void {
    this.#screen.show({
      isStarting: !this.#isReady && !this.#isStopping,
      topology: this.#source.topology(),
      events: [...this.#source.events(), ...this.#notes]
        // That the leader holds still once the others have ended is how an end in order looks.
        .filter(({ kind }) => !this.#isStopping || kind !== 'fenced')
        .toSorted((a, b) => a.at - b.at),
      links: this.#links,
    });
  }
}

function bindView(source: ClusterSource): Pick<ClusterSource, 'topology' | 'events' | 'subscribe'> {
  return {
    topology: () => source.topology(),
    events: () => source.events(),
    subscribe: (listener) => source.subscribe(listener),
  };
}

function emptyTopology(config: ClusterConfig): Topology {
  return {
    cluster: config.name,
    clusterId: config.id,
    topology: 'leader-follower',
    version: 0,
    term: 0,
    timeline: null,
    leader: null,
    forks: [],
    isFailoverReady: false,
    nodes: config.nodes.map((node) => ({
      name: node.name,
      role: 'unknown',
      state: 'unreachable',
      detail: null,
      host: node.host,
      port: node.port,
      agentUrl: agentUrl(node),
      timeline: null,
      receivedLsn: null,
      replayedLsn: null,
      lagBytes: null,
      lagMs: null,
      sync: false,
      kind: kindOf(node),
      delayMs: delayMsOf(node),
      voter: node.voter,
    })),
  };
}
