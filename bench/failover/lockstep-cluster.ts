import { randomUUID } from 'node:crypto';
import { chmod, mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { askAgent } from '../../src/cli/commands/agent-request.ts';
import { appUrl } from '../../src/cli/dev/cluster-folder.ts';
import { fetchTopology } from '../../src/cli/commands/local-cluster.ts';
import { listProcessTree } from '../../src/cli/dev/process-tree.ts';
import { SWITCHOVER_TIMEOUT_MS } from '../../src/cli/commands/switchover-command.ts';
import { findNode, nodeFolder, parseClusterConfig } from '../../src/leader-follower/config/config.ts';
import type { ClusterConfig } from '../../src/leader-follower/config/config.ts';
import { parseNodeId } from '../../src/model/node.ts';
import type { Topology } from '../../src/model/topology.ts';
import { isWholeCluster } from '../../src/model/whole-cluster.ts';
import { replaceFile } from '../../src/postgres/data-folder.ts';
import { freePort } from '../../test/integration/fixture.ts';
import { readParent } from '../process-usage.ts';
import type { ClusterNode, FailoverCluster, LoggedEvent, Part, ProcessGroup, Reign } from './cluster.ts';
import { HostNetwork } from './host-network.ts';
import { NodeProcess, readPostmaster } from './node-process.ts';

const NAMES = ['n1', 'n2', 'n3'];
const CLI = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));
/** As `lockstep dev` starts its agents. */
const SMALL_HEAP = ['--max-semi-space-size=1', '--max-old-space-size=192'];
const WHOLE_PATIENCE_MS = 90_000;
/** A picture may be older than a fault: whole means the same picture for so long. */
const SETTLED_MS = 600;
const STOP_PATIENCE_MS = 10_000;
const LOG_LINES = 40;

export interface LockstepClusterOptions {
  /** See `findPostgres`. */
  readonly postgres: string;
  /** Whether each node gets a network namespace of its own; else all are on the loopback. */
  readonly hasNetwork: boolean;
  readonly signal: AbortSignal;
}

/** Three agents with their PostgreSQL, with the settings that a new cluster has. */
export class LockstepCluster implements FailoverCluster {
  readonly name = 'Lockstep';
  readonly recoveryPatienceMs = 30_000;
  readonly nodes: readonly ClusterNode[];
  readonly url: string;
  readonly #config: ClusterConfig;
  readonly #root: string;
  readonly #network: HostNetwork | null;
  readonly #signal: AbortSignal;
  readonly #agents = new Map<string, NodeProcess>();

  static async start(options: LockstepClusterOptions): Promise<LockstepCluster> {
    await using resources = new AsyncDisposableStack();
    const root = await mkdtemp(join(tmpdir(), 'lockstep-failover-'));
    resources.defer(() => rm(root, { recursive: true, force: true, maxRetries: 5 }));
    await chmod(root, 0o755);
    for (const folder of ['nodes', 'logs']) await mkdir(join(root, folder), { mode: 0o755 });
    const network = options.hasNetwork ? resources.use(await HostNetwork.create(NAMES)) : null;
    const config = await createConfig(options.postgres, network);
    await replaceFile(join(root, 'cluster.json'), JSON.stringify(config), null);
    const cluster = new LockstepCluster(config, root, network, options.signal);
    resources.defer(() => cluster.#endAgents());
    try {
      for (const agent of cluster.#agents.values()) await agent.start();
      await cluster.untilWhole();
    } catch (error) {
      throw new Error(`${(error as Error).message}\n${await cluster.logs()}`, { cause: error });
    }
    cluster.#resources = resources.move();
    return cluster;
  }

  #resources: AsyncDisposableStack | null = null;

  private constructor(config: ClusterConfig, root: string, network: HostNetwork | null, signal: AbortSignal) {
    this.#config = config;
    this.#root = root;
    this.#network = network;
    this.#signal = signal;
    this.url = appUrl(config);
    const { appUser: user, database, secrets } = config;
    this.nodes = config.nodes.map(({ name, host, port }) => ({
      name,
      address: { host, port, user, password: secrets.app, database },
    }));
    for (const { name } of config.nodes) {
      const node = ['--config', join(root, 'cluster.json'), '--data', root, '--node', name];
      const words = ['agent', ...node, '--until-stdin-closes'];
      const command = [...(network?.commandOn(name) ?? []), process.execPath, ...SMALL_HEAP, CLI, ...words];
      this.#agents.set(name, new NodeProcess({ command, logPath: this.#logPath(name), account: null }));
    }
  }

  async reign(): Promise<Reign> {
    const { leader, term } = await fetchTopology(this.#config);
    if (leader === null) throw new Error('Nobody leads.');
    return { leader, term };
  }

  async untilWhole(): Promise<Reign> {
    const deadlineMs = performance.now() + WHOLE_PATIENCE_MS;
    let before: Topology | null = null;
    let last = 'no agent answered';
    while (performance.now() < deadlineMs) {
      const topology = await fetchTopology(this.#config).catch(() => null);
      if (topology !== null) last = JSON.stringify(topology);
      const whole = topology !== null && isWholeCluster(topology, 'failover') ? topology : null;
      if (whole !== null && whole.leader !== null && whole.term === before?.term)
        return { leader: whole.leader, term: whole.term };
      before = whole;
      await delay(whole === null ? 50 : SETTLED_MS, undefined, { signal: this.#signal });
    }
    throw new Error(
      `Lockstep's cluster is not whole after ${WHOLE_PATIENCE_MS} ms; the last picture: ${last}`,
    );
  }

  async pidsOf(node: string, part: Part): Promise<number[]> {
    if (part === 'host') return this.#agent(node).tree();
    if (part === 'agent') return [this.#agent(node).pid].filter((pid) => pid !== null);
    const postmaster = await readPostmaster(this.#dataDir(node));
    return postmaster === null ? [] : listProcessTree(postmaster);
  }

  async start(node: string): Promise<void> {
    await this.#agent(node).start();
  }

  async switchover(leader: string): Promise<void> {
    const asked = { path: '/v1/switchover', body: {}, timeoutMs: SWITCHOVER_TIMEOUT_MS };
    await askAgent(this.#config, findNode(this.#config, leader), asked);
  }

  async setLink(node: string, state: 'down' | 'up'): Promise<void> {
    if (this.#network === null) throw new Error('A link needs a network.');
    await this.#network.setLink(node, state);
  }

  /** From the agents' logs: one line of JSON for each event. */
  async eventsSince(ms: number): Promise<LoggedEvent[]> {
    const texts = await Promise.all(NAMES.map((name) => readFile(this.#logPath(name), 'utf8')));
    return texts
      .flatMap((text) => text.split('\n'))
      .filter((line) => line.startsWith('{'))
      .map((line) => JSON.parse(line) as { at: string; kind: string })
      .map(({ at, kind }) => ({ atMs: Date.parse(at), kind }))
      .filter(({ atMs }) => atMs >= ms);
  }

  async processGroups(leader: string): Promise<ProcessGroup[]> {
    const groups: ProcessGroup[] = [];
    for (const name of NAMES) {
      const role = name === leader ? 'of the leader' : `of follower ${name}`;
      const agent = this.#agent(name).pid;
      const postgres = await this.pidsOf(name, 'postgres');
      const watchdog = postgres[0] === undefined ? null : readParent(postgres[0]);
      groups.push({ name: `agent ${role}`, pids: agent === null ? [] : [agent] });
      groups.push({ name: `watchdog ${role}`, pids: watchdog === null ? [] : [watchdog] });
      groups.push({ name: `PostgreSQL ${role}`, pids: postgres });
    }
    return groups;
  }

  async logs(): Promise<string> {
    const paths = NAMES.flatMap((name) => [
      this.#logPath(name),
      join(this.#root, 'nodes', name, 'postgres.log'),
    ]);
    return tailLogs(paths, LOG_LINES);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#resources?.disposeAsync();
  }

  async #endAgents(): Promise<void> {
    await Promise.all([...this.#agents.values()].map((agent) => agent.end(STOP_PATIENCE_MS)));
  }

  #agent(node: string): NodeProcess {
    const agent = this.#agents.get(node);
    if (agent === undefined) throw new Error(`There is no node ${node}.`);
    return agent;
  }

  #dataDir(node: string): string {
    return join(nodeFolder(this.#root, parseNodeId(node)), 'data');
  }

  #logPath(node: string): string {
    return join(this.#root, 'logs', `${node}.log`);
  }
}

async function createConfig(postgres: string, network: HostNetwork | null): Promise<ClusterConfig> {
  const nodes = [];
  for (const name of NAMES) {
    const place =
      network === null
        ? { host: '127.0.0.1', port: await freePort(), agentPort: await freePort() }
        : { host: network.addressOf(name), port: 5432, agentPort: 7400 };
    nodes.push({ name, ...place });
  }
  return parseClusterConfig(
    {
      id: randomUUID(),
      name: 'bench',
      nodes,
      allowedNetworks: network === null ? [] : [network.cidr],
      postgres,
      secrets: { superuser: randomUUID(), replication: randomUUID(), app: randomUUID(), agent: randomUUID() },
    },
    "the bench's cluster",
  );
}

/** The last lines of each file. */
export async function tailLogs(paths: readonly string[], lines: number): Promise<string> {
  const parts: string[] = [];
  for (const path of paths) {
    const text = await readFile(path, 'utf8').catch((error: Error) => error.message);
    parts.push(`--- ${path}`, ...text.trim().split('\n').slice(-lines));
  }
  return parts.join('\n');
}
