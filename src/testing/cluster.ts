import { randomUUID } from 'node:crypto';
import { chmod, mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { askAgent } from '../cli/commands/agent-request.ts';
import { appUrl, nodeDsn } from '../cli/dev/cluster-folder.ts';
import { fetchTopology } from '../cli/commands/local-cluster.ts';
import { signalProcessTree } from '../cli/dev/process-tree.ts';
import { Supervisor } from '../cli/dev/supervisor.ts';
import {
  agentUrl,
  dataNodes,
  findNode,
  nodeFolder,
  parseClusterConfig,
} from '../leader-follower/config/config.ts';
import type { ClusterConfig } from '../leader-follower/config/config.ts';
import { parseNodeId } from '../model/node.ts';
import type { Topology } from '../model/topology.ts';
import { isWholeCluster } from '../model/whole-cluster.ts';
import { replaceFile } from '../postgres/data-folder.ts';
import { freePorts } from './free-ports.ts';

/** A switchover takes the longest. */
const COMMAND_TIMEOUT_MS = 180_000;

export interface TestClusterOptions {
  /** Default 3. */
  readonly nodes?: number;
  /** Adds `w1`, which only votes; `kill` and `start` take it, `nodes` does not have it. */
  readonly witness?: boolean;
  /** Adds a node after the others that stays so far behind, like `10min`; it never leads. */
  readonly delayed?: string;
  /** `auto`, `system`, `embedded` or the path of a bin folder. Default LOCKSTEP_TEST_POSTGRES or `auto`. */
  readonly postgres?: string;
  /** As in cluster.json; the agents among themselves when left out. */
  readonly coordination?: ClusterConfig['coordination'];
  /** As in cluster.json. */
  readonly switchoverWaitMs?: number;
  /** As in cluster.json; longer where many nodes share few processors, and must not take over for that. */
  readonly leaseTtlMs?: number;
  /** As in cluster.json. */
  readonly supportMs?: number;
  /** How long it may take until it is whole; a busy machine needs longer. Default 60,000. */
  readonly startDeadlineMs?: number;
}

export interface TestNode {
  readonly name: string;
  readonly host: string;
  readonly port: number;
  /** The app's connection string for this node alone. */
  readonly dsn: string;
  readonly agentUrl: string;
  /** Where its data folder, its logs and what it put aside are. */
  readonly folder: string;
}

/** A real cluster of agents and PostgreSQL processes, on ports and in a folder of its own. */
export interface TestCluster extends AsyncDisposable {
  /** For the client: all nodes. */
  readonly url: string;
  readonly nodes: readonly TestNode[];
  /** Where everything of it lies, until it is disposed of. */
  readonly folder: string;
  /** The newest picture that any agent has. */
  status(): Promise<Topology>;
  /** The leader's name, waiting up to 60 s for one. */
  leader(): Promise<string>;
  /** SIGKILL for a node's agent and PostgreSQL. */
  kill(node: string): Promise<void>;
  /** SIGKILL for a node's PostgreSQL alone: its agent lives on. */
  killPostgres(node: string): Promise<void>;
  start(node: string): Promise<void>;
  /** SIGSTOP for a node's agent and PostgreSQL. */
  pause(node: string): Promise<void>;
  resume(node: string): Promise<void>;
  switchover(to?: string): Promise<{ from: string; to: string; pausedMs: number }>;
  /** Adds a node to the running cluster, as `lockstep node add` does, with its `--from` and `--delay`, and starts it. */
  addNode(name: string, kind?: { readonly from?: string; readonly delay?: string }): Promise<TestNode>;
  /** Removes one, as `lockstep node remove` does; it may be dead. Resolves when it is no node any more. */
  removeNode(name: string): Promise<void>;
  /** Sets what commits wait for, as `lockstep policy set` does. */
  setPolicy(policy: {
    readonly followers: number | 'all';
    readonly degradeAfterMs: number | null;
  }): Promise<void>;
  /** Gives a node that follows a vote, as `lockstep node grant-vote` does. */
  grantVote(name: string): Promise<void>;
  /** Takes a node's vote away, as `lockstep node revoke-vote` does; it may be dead. */
  revokeVote(name: string): Promise<void>;
  /** Resolves when every node runs on the leader's timeline and any one of three or more may die. */
  untilWhole(deadlineMs?: number): Promise<Topology>;
  /** The last lines of every node's logs, for a failure's report. */
  logs(): Promise<string>;
}

/**
 * Starts a cluster and resolves when it is whole. Use with `await using`: its processes and its folder are
 * gone afterwards, also when the test failed.
 */
export async function startTestCluster(options: TestClusterOptions = {}): Promise<TestCluster> {
  const root = await mkdtemp(join(tmpdir(), 'lockstep-cluster-'));
  await chmod(root, 0o755);
  const count = (options.nodes ?? 3) + (options.delayed === undefined ? 0 : 1);
  const ports = await freePorts(count * 2 + 1);
  const witness = { name: 'w1', host: '127.0.0.1', agentPort: ports[count * 2], witness: true };
  const config = parseClusterConfig(
    {
      id: randomUUID(),
      name: 'test',
      nodes: [
        ...Array.from({ length: count }, (_, index) => ({
          name: `n${index + 1}`,
          host: '127.0.0.1',
          port: ports[index],
          agentPort: ports[count + index],
          ...(options.delayed !== undefined && index === count - 1 ? { delay: options.delayed } : {}),
        })),
        ...(options.witness === true ? [witness] : []),
      ],
      postgres: options.postgres ?? process.env['LOCKSTEP_TEST_POSTGRES'] ?? 'auto',
      ...(options.coordination === undefined ? {} : { coordination: options.coordination }),
      switchoverWaitMs: options.switchoverWaitMs,
      leaseTtlMs: options.leaseTtlMs,
      supportMs: options.supportMs,
      secrets: { superuser: randomUUID(), replication: randomUUID(), app: randomUUID(), agent: randomUUID() },
    },
    'the test cluster',
  );
  const configPath = join(root, 'cluster.json');
  await mkdir(join(root, 'nodes'), { mode: 0o755 });
  await replaceFile(configPath, JSON.stringify(config), null);
  const cluster = new ProcessCluster(config, configPath, root);
  try {
    await cluster.startAll(options.startDeadlineMs ?? 60_000);
    return cluster;
  } catch (error) {
    await cluster[Symbol.asyncDispose]();
    throw new Error(`the test cluster did not start: ${(error as Error).message}`, { cause: error });
  }
}

class ProcessCluster implements TestCluster {
  #config: ClusterConfig;
  readonly #supervisor: Supervisor;
  readonly #paused = new Set<string>();
  #exit: string | null = null;
  readonly url: string;
  readonly folder: string;

  constructor(config: ClusterConfig, configPath: string, root: string) {
    this.#config = config;
    this.folder = root;
    this.#supervisor = new Supervisor({
      config,
      configPath,
      dataRoot: root,
      onExit: (node, reason) => {
        // One that was removed ends by itself.
        if (this.#config.nodes.some(({ name }) => name === node)) this.#exit = `${node}: ${reason}`;
      },
    });
    this.url = appUrl(config);
  }

  get nodes(): readonly TestNode[] {
    return dataNodes(this.#config).map((node) => ({
      name: node.name,
      host: node.host,
      port: node.port,
      dsn: nodeDsn(this.#config, node),
      agentUrl: agentUrl(node),
      folder: nodeFolder(this.folder, node.name),
    }));
  }

  async startAll(deadlineMs: number): Promise<void> {
    await this.#supervisor.startAll();
    await this.untilWhole(deadlineMs);
  }

  status(): Promise<Topology> {
    return fetchTopology(this.#config);
  }

  async leader(): Promise<string> {
    return this.#until('a leader', 60_000, (topology) => topology.leader);
  }

  async kill(node: string): Promise<void> {
    await this.#supervisor.kill(node);
    this.#paused.delete(node);
  }

  async killPostgres(node: string): Promise<void> {
    const path = join(nodeFolder(this.folder, findNode(this.#config, node).name), 'data', 'postmaster.pid');
    const pid = Number.parseInt(await readFile(path, 'utf8'), 10);
    await signalProcessTree(pid, 'SIGKILL');
  }

  async start(node: string): Promise<void> {
    await this.#supervisor.start(node);
  }

  async pause(node: string): Promise<void> {
    this.#paused.add(node);
    await this.#supervisor.signal(node, 'SIGSTOP');
  }

  async resume(node: string): Promise<void> {
    await this.#supervisor.signal(node, 'SIGCONT');
    this.#paused.delete(node);
  }

  async switchover(to?: string): Promise<{ from: string; to: string; pausedMs: number }> {
    return this.#askLeader('/v1/switchover', to === undefined ? {} : { to });
  }

  async addNode(
    name: string,
    { from, delay }: { readonly from?: string; readonly delay?: string } = {},
  ): Promise<TestNode> {
    const [port = 0, agentPort = 0] = await freePorts(2);
    const place = {
      name: parseNodeId(name),
      host: '127.0.0.1',
      port,
      agentPort,
      failoverPriority: delay === undefined ? 1 : 0,
      ...(from === undefined ? {} : { from: parseNodeId(from) }),
      ...(delay === undefined ? {} : { delay }),
    };
    await this.#askLeader('/v1/nodes', { kind: 'add', node: place });
    this.#useNodes([...this.#config.nodes, { ...place, witness: false, voter: false }]);
    await this.#supervisor.start(name);
    const added = this.nodes.find((node) => node.name === name);
    if (added === undefined) throw new Error(`${name} was not added`);
    return added;
  }

  async removeNode(name: string): Promise<void> {
    await this.#askLeader('/v1/nodes', { kind: 'remove', name });
    this.#useNodes(this.#config.nodes.filter((node) => node.name !== name));
    await this.#until(`${name} removed`, 60_000, (topology) => {
      const isGone = topology.nodes.every((node) => node.name !== name);
      return isGone && !this.#supervisor.isRunning(name) ? true : null;
    });
  }

  async setPolicy(policy: {
    readonly followers: number | 'all';
    readonly degradeAfterMs: number | null;
  }): Promise<void> {
    await this.#askLeader('/v1/nodes', { kind: 'policy', policy });
  }

  async grantVote(name: string): Promise<void> {
    await this.#askLeader('/v1/nodes', { kind: 'grant-vote', name });
  }

  async revokeVote(name: string): Promise<void> {
    await this.#askLeader('/v1/nodes', { kind: 'revoke-vote', name });
  }

  #useNodes(nodes: ClusterConfig['nodes']): void {
    this.#config = { ...this.#config, nodes };
    this.#supervisor.use(this.#config);
  }

  async #askLeader<T>(path: string, body: unknown): Promise<T> {
    const leader = findNode(this.#config, await this.leader());
    return askAgent<T>(this.#config, leader, { path, body, timeoutMs: COMMAND_TIMEOUT_MS });
  }

  untilWhole(deadlineMs = 60_000): Promise<Topology> {
    return this.#until('a whole cluster', deadlineMs, (topology) =>
      isWholeCluster(topology, 'failover') ? topology : null,
    );
  }

  async logs(): Promise<string> {
    const parts: string[] = [];
    for (const node of this.#config.nodes) {
      for (const file of ['agent.log', 'postgres.log']) {
        const text = await readFile(join(this.folder, 'nodes', node.name, file), 'utf8').catch(() => '');
        parts.push(`--- ${node.name} ${file}`, ...text.trim().split('\n').slice(-25));
      }
    }
    return parts.join('\n');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#supervisor.killAll();
    await rm(this.folder, { recursive: true, force: true, maxRetries: 5 });
  }

  async #until<T>(what: string, deadlineMs: number, judge: (topology: Topology) => T | null): Promise<T> {
    const deadline = performance.now() + deadlineMs;
    let last = 'no agent answered';
    while (performance.now() < deadline && this.#exit === null) {
      const topology = await this.status().catch(() => null);
      const value = topology === null ? null : judge(topology);
      if (value !== null) return value;
      if (topology !== null) last = JSON.stringify(topology);
      await delay(30);
    }
    throw new Error(
      `${this.#exit ?? `not within ${deadlineMs} ms`}: ${what} (last: ${last})\n${await this.logs()}`,
    );
  }
}
