import { randomUUID } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { askAgent } from '../../../src/cli/commands/agent-request.ts';
import { appUrl, nodeDsn } from '../../../src/cli/dev/cluster-folder.ts';
import { fetchTopology } from '../../../src/cli/commands/local-cluster.ts';
import { findNode, nodeFolder, parseClusterConfig } from '../../../src/leader-follower/config/config.ts';
import type { ClusterConfig } from '../../../src/leader-follower/config/config.ts';
import type { SyncPolicy } from '../../../src/leader-follower/core/cluster-state.ts';
import { LockstepError } from '../../../src/model/errors.ts';
import { parseNodeId } from '../../../src/model/node.ts';
import type { Topology } from '../../../src/model/topology.ts';
import { isWholeCluster } from '../../../src/model/whole-cluster.ts';
import { SUPERUSER } from '../../../src/postgres/settings.ts';
import { claimRun } from './claim.ts';
import { Clock } from './clock.ts';
import { Disk } from './disk.ts';
import { compilePreload } from './preload.ts';
import { Host } from './host.ts';
import { Network } from './network.ts';

const PLAIN: readonly KindOfNode[] = [{ name: 'n1' }, { name: 'n2' }, { name: 'n3' }];
/** One follows a follower, one stays behind; neither votes, so that what the others promise stays the same. */
const ALL_KINDS: readonly KindOfNode[] = [
  ...PLAIN,
  { name: 'n4', delay: '2s', voter: false },
  { name: 'n5', from: 'n2', voter: false },
];
const POSTGRES_PORT = 5432;
const AGENT_PORT = 7400;
const START_PATIENCE_MS = 120_000;
/** A picture may be older than a fault: whole means the same picture for this long. */
const SETTLED_MS = 700;
const LOG_LINES = 60;

interface KindOfNode {
  readonly name: string;
  readonly delay?: string;
  readonly from?: string;
  readonly voter?: boolean;
}

export interface HostClusterOptions {
  /** With a delayed and a cascading node, besides the three. */
  readonly hasAllKinds: boolean;
  readonly onProgress: (line: string) => void;
  /** Ends every wait. */
  readonly stop: AbortSignal;
}

/** A real cluster in which every node has a machine of its own. Gone at the end of its `await using` block. */
export class HostCluster implements AsyncDisposable {
  readonly #resources: AsyncDisposable;
  readonly #config: ClusterConfig;
  readonly #stop: AbortSignal;
  readonly network: Network;
  readonly hosts: readonly Host[];
  /** Whether disks can hang and clocks jump: there is a C compiler. */
  readonly canPreload: boolean;

  static async start(options: HostClusterOptions): Promise<HostCluster> {
    const claim = await claimRun(options.onProgress);
    try {
      const nodes = options.hasAllKinds ? ALL_KINDS : PLAIN;
      const names = nodes.map(({ name }) => name);
      const network = new Network(claim.number, names);
      await network.create();
      const config = createConfig(network, nodes);
      const configPath = join(claim.folder, 'cluster.json');
      await writeFile(configPath, JSON.stringify(config), { mode: 0o600 });
      const preload = await compilePreload(claim.folder);
      const hosts: Host[] = [];
      for (const namespace of network.namespaces) {
        const path = nodeFolder(claim.folder, parseNodeId(namespace.host));
        const disk = new Disk(path, join(claim.folder, 'switches', namespace.host));
        await disk.mount();
        const clock = new Clock(join(claim.folder, `clock-${namespace.host}`));
        await clock.create();
        const logFolder = join(claim.folder, 'logs', namespace.host);
        hosts.push(
          new Host({ namespace, disk, clock, preload, configPath, dataRoot: claim.folder, logFolder }),
        );
      }
      const cluster = new HostCluster(claim, config, options.stop, network, hosts, preload !== null);
      for (const host of hosts) await host.start();
      await cluster.untilWhole(START_PATIENCE_MS);
      return cluster;
    } catch (error) {
      await claim[Symbol.asyncDispose]();
      throw error;
    }
  }

  private constructor(
    resources: AsyncDisposable,
    config: ClusterConfig,
    stop: AbortSignal,
    network: Network,
    hosts: readonly Host[],
    canPreload: boolean,
  ) {
    this.#resources = resources;
    this.#config = config;
    this.#stop = stop;
    this.network = network;
    this.hosts = hosts;
    this.canPreload = canPreload;
  }

  /** For Lockstep's client: all nodes. */
  get url(): string {
    return appUrl(this.#config);
  }

  get leaseTtlMs(): number {
    return this.#config.leaseTtlMs;
  }

  /** The app's connection string for one node alone. */
  dsn(name: string): string {
    return nodeDsn(this.#config, findNode(this.#config, name));
  }

  superuserDsn(name: string): string {
    const { host, port } = findNode(this.#config, name);
    const { secrets, database } = this.#config;
    return `postgresql://${SUPERUSER}:${secrets.superuser}@${host}:${port}/${database}`;
  }

  host(name: string): Host {
    const found = this.hosts.find((host) => host.name === name);
    if (found === undefined) throw new Error(`There is no host ${name}.`);
    return found;
  }

  /** Those that stay behind on purpose. */
  get delayedHosts(): readonly Host[] {
    return this.hosts.filter(({ name }) => findNode(this.#config, name).delay !== undefined);
  }

  /** Whether it votes when no fault has changed that. */
  votes(name: string): boolean {
    return findNode(this.#config, name).voter;
  }

  /** Throws when a node leads that stays behind on purpose. */
  async status(): Promise<Topology> {
    const topology = await fetchTopology(this.#config);
    const { leader } = topology;
    if (leader !== null && findNode(this.#config, leader).delay !== undefined)
      throw new DelayedLeads(`${leader} leads, which stays behind on purpose`);
    return topology;
  }

  /** Who follows somebody of its own choice does so, unless one of the two leads the other. */
  #isInPlace({ nodes, leader }: Topology): boolean {
    return nodes.every(({ name, follows }) => {
      const wanted = findNode(this.#config, name).from;
      return wanted === undefined || name === leader || follows === wanted;
    });
  }

  /** Asks the leader's agent to hand over. Its refusal is returned: in a race with a fault it is right. */
  async switchover(leader: string): Promise<string | null> {
    return this.#ask(leader, '/v1/switchover', {});
  }

  /** Asks the leader's agent, like {@link switchover}. */
  async changeVote(kind: 'grant-vote' | 'revoke-vote', leader: string, name: string): Promise<string | null> {
    return this.#ask(leader, '/v1/nodes', { kind, name });
  }

  /** Asks the leader's agent, like {@link switchover}. */
  async setPolicy(
    leader: string,
    policy: Pick<SyncPolicy, 'followers' | 'degradeAfterMs'>,
  ): Promise<string | null> {
    return this.#ask(leader, '/v1/nodes', { kind: 'policy', policy });
  }

  async #ask(leader: string, path: string, body: object): Promise<string | null> {
    const node = findNode(this.#config, leader);
    try {
      await askAgent(this.#config, node, { path, body, timeoutMs: 30_000 });
      return null;
    } catch (error) {
      if (error instanceof LockstepError && error.details['isSilent'] !== true) return error.message;
      throw error;
    }
  }

  /** Resolves when every node runs on the leader's timeline, any one may die, and that stays so for a moment. */
  async untilWhole(patienceMs: number): Promise<Topology> {
    const deadlineMs = performance.now() + patienceMs;
    let last = 'no agent answered';
    for (let before: Topology | null = null; performance.now() < deadlineMs;) {
      const topology = await this.status().catch((error: unknown) => {
        if (error instanceof DelayedLeads) throw error;
        return null;
      });
      if (topology !== null) last = JSON.stringify(topology);
      const isSame =
        topology !== null && before?.term === topology.term && before.timeline === topology.timeline;
      const isWhole = topology !== null && isWholeCluster(topology, 'failover') && this.#isInPlace(topology);
      if (isWhole && isSame) return topology;
      before = isWhole ? topology : null;
      await this.pause(before === null ? 100 : SETTLED_MS);
    }
    throw new Error(`The cluster is not whole after ${patienceMs} ms; the last picture: ${last}`);
  }

  /** Throws when the run was stopped. */
  async pause(ms: number): Promise<void> {
    await delay(ms, undefined, { signal: this.#stop });
  }

  async logs(): Promise<string> {
    return (await Promise.all(this.hosts.map((host) => host.logs(LOG_LINES)))).join('\n');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#resources[Symbol.asyncDispose]();
  }
}

class DelayedLeads extends Error {}

function createConfig(network: Network, kinds: readonly KindOfNode[]): ClusterConfig {
  return parseClusterConfig(
    {
      id: randomUUID(),
      name: 'chaos',
      nodes: network.namespaces.map(({ host, address }) => ({
        ...kinds.find(({ name }) => name === host),
        name: host,
        host: address,
        port: POSTGRES_PORT,
        agentPort: AGENT_PORT,
      })),
      allowedNetworks: [network.cidr],
      postgres: process.env['LOCKSTEP_TEST_POSTGRES'] ?? 'auto',
      secrets: { superuser: randomUUID(), replication: randomUUID(), app: randomUUID(), agent: randomUUID() },
    },
    'the chaos cluster',
  );
}
