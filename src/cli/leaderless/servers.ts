import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { nodeDsn } from '../dev/cluster-folder.ts';
import { nodeFolder } from '../../leader-follower/config/config.ts';
import type { ClusterConfig } from '../../leader-follower/config/config.ts';
import { ensureRoles } from '../../leader-follower/config/roles.ts';
import { quorum } from '../../leaderless/index.ts';
import { inspectQuorum } from '../../leaderless/inspect.ts';
import type { InspectedQuorum } from '../../leaderless/inspect.ts';
import { LockstepError } from '../../model/errors.ts';
import { parseNodeId } from '../../model/node.ts';
import { reachableBinaries, resolveAccount } from '../../postgres/account.ts';
import { findPostgres } from '../../postgres/binaries.ts';
import { createDataFolder, isPresent, writeSettings } from '../../postgres/data-folder.ts';
import { PostgresServer } from '../../postgres/server.ts';
import { REPLICATED_NODE_SETTINGS } from '../../postgres/settings.ts';
import { openLeaderlessConfig } from './folder.ts';
import type { LeaderlessNode } from './folder.ts';

export interface LeaderlessServersOptions {
  readonly stateDir: string;
  /** Where nodes keep their data. */
  readonly dataRoot: string;
  /** Its roles, database, passwords and choice of PostgreSQL are used here too. */
  readonly cluster: ClusterConfig;
  readonly onNote: (message: string) => void;
}

interface Running {
  readonly node: LeaderlessNode;
  readonly server: PostgresServer;
}

/** How long a look may take, and is good for. */
const LOOK_MS = 800;

/** Independent PostgreSQL servers on this machine: none follows another. They end with this process. */
export class LeaderlessServers {
  readonly #options: LeaderlessServersOptions;
  readonly #running: readonly Running[];

  readonly #namesById = new Map<string, string>();
  #looked: { readonly atMs: number; readonly found: Promise<InspectedQuorum> } | null = null;

  private constructor(options: LeaderlessServersOptions, running: readonly Running[]) {
    this.#options = options;
    this.#running = running;
  }

  static async open(options: LeaderlessServersOptions): Promise<LeaderlessServers> {
    const { cluster, dataRoot, stateDir, onNote } = options;
    const { nodes } = await openLeaderlessConfig(stateDir);
    const account = await resolveAccount();
    const binaries = await reachableBinaries(await findPostgres(cluster.postgres), account);
    const superuserPassword = cluster.secrets.superuser;
    const running: Running[] = [];
    for (const node of nodes) {
      const folder = nodeFolder(dataRoot, parseNodeId(node.name));
      const dataDir = join(folder, 'data');
      await mkdir(folder, { recursive: true, mode: 0o755 });
      if (!(await isPresent(dataDir)))
        await createDataFolder({ binaries, account, dataDir, superuserPassword });
      const settings = {
        ...REPLICATED_NODE_SETTINGS,
        listen_addresses: node.host,
        port: node.port,
        primary_conninfo: '',
      };
      await writeSettings(dataDir, account, settings, { nodes: ['127.0.0.1/32'], clients: [] });
      const server = new PostgresServer({
        binaries,
        account,
        dataDir,
        logPath: join(folder, 'postgres.log'),
        host: node.host,
        port: node.port,
        superuserPassword,
        onUnexpectedExit: (reason) => onNote(`${node.name} stopped: ${reason}`),
      });
      running.push({ node, server });
    }
    return new LeaderlessServers(options, running);
  }

  /** Connection strings, in the order of their names. */
  get urls(): readonly string[] {
    return this.#running.map(({ node }) => nodeDsn(this.#options.cluster, node));
  }

  get names(): readonly string[] {
    return this.#running.map(({ node }) => node.name);
  }

  /** How they are now, for everybody who asks within a second the same answer. */
  look(): Promise<InspectedQuorum> {
    const nowMs = performance.now();
    if (this.#looked === null || nowMs - this.#looked.atMs > LOOK_MS) {
      const nodes = this.#running.map(({ node }) => ({
        name: node.name,
        url: nodeDsn(this.#options.cluster, node),
      }));
      this.#looked = {
        atMs: nowMs,
        found: inspectQuorum(nodes, LOOK_MS).then((found) => this.#named(found)),
      };
    }
    return this.#looked.found;
  }

  /** Notes for a server that is away name it by the identifier that it told before. */
  #named(found: InspectedQuorum): InspectedQuorum {
    for (const { name, systemIdentifier } of found.nodes)
      if (systemIdentifier !== null) this.#namesById.set(systemIdentifier, name);
    const nodes = found.nodes.map((node) => ({
      ...node,
      hints: Object.fromEntries(
        Object.entries(node.hints).map(([target, count]) => [this.#namesById.get(target) ?? target, count]),
      ),
    }));
    return { ...found, nodes };
  }

  /** Starts them, and founds their quorum when they are new. */
  async startAll(): Promise<void> {
    await Promise.all(this.#running.map(({ node }) => this.start(node.name)));
    const opened = await quorum({ nodes: this.urls, connectTimeoutMs: 10_000 });
    await opened.close();
  }

  /** Throws CONFIG_INVALID when it runs already. */
  async start(name: string): Promise<void> {
    const { server } = this.#find(name);
    if (server.isRunning) throw new LockstepError('CONFIG_INVALID', `Node ${name} runs already.`);
    await server.startAlone();
    const client = await server.connect();
    try {
      await ensureRoles(client, this.#options.cluster);
    } finally {
      await client.end();
    }
  }

  /** SIGKILL for all its processes, as a lost machine would end them. Throws CONFIG_INVALID when it does not run. */
  async kill(name: string): Promise<void> {
    const { server } = this.#find(name);
    if (!server.isRunning) {
      throw new LockstepError(
        'CONFIG_INVALID',
        `Node ${name} does not run; start it with "lockstep start ${name}".`,
      );
    }
    await server.stop('immediate');
  }

  async stopAll(): Promise<void> {
    await Promise.all(this.#running.map(({ server }) => server.stop('fast')));
  }

  #find(name: string): Running {
    const found = this.#running.find(({ node }) => node.name === name);
    if (found === undefined)
      throw new LockstepError('CONFIG_INVALID', `There is no independent server "${name}".`);
    return found;
  }
}
