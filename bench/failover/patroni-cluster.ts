import { randomUUID } from 'node:crypto';
import { access, chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { listProcessTree } from '../../src/cli/dev/process-tree.ts';
import { createPrivateFolder, resolveAccount } from '../../src/postgres/account.ts';
import type { PostgresAccount } from '../../src/postgres/account.ts';
import { findPostgres } from '../../src/postgres/binaries.ts';
import { freePort } from '../../test/integration/fixture.ts';
import { ETCD, findProgram, PATRONI } from '../peers/programs.ts';
import type { ClusterNode, FailoverCluster, LoggedEvent, Part, ProcessGroup, Reign } from './cluster.ts';
import { tailLogs } from './lockstep-cluster.ts';
import { NodeProcess, readPostmaster } from './node-process.ts';
import { renderPatroniConfig } from './patroni-config.ts';
import type { PatroniPace } from './patroni-config.ts';
import { signalAll } from './signals.ts';

const NAMES = ['p1', 'p2', 'p3'];
const WHOLE_PATIENCE_MS = 180_000;
const STOP_PATIENCE_MS = 5_000;
const LOG_LINES = 30;

/** What `GET /patroni` of a node tells, as far as it is needed. */
interface PatroniStatus {
  readonly role: string;
  readonly state: string;
  readonly timeline?: number;
  readonly replication?: readonly { readonly state: string }[];
}

interface PatroniNode extends ClusterNode {
  readonly folder: string;
  readonly restPort: number;
  readonly process: NodeProcess;
}

/**
 * Three Patroni nodes with an etcd of their own. Only one member: it stands for an etcd on other machines, which no
 * fault of the bench touches. That is the best case for Patroni.
 */
export class PatroniCluster implements FailoverCluster {
  readonly name: string;
  readonly url = null;
  readonly recoveryPatienceMs = 120_000;
  readonly nodes: readonly PatroniNode[];
  readonly #root: string;
  readonly #etcd: NodeProcess;
  readonly #signal: AbortSignal;
  #resources: AsyncDisposableStack | null = null;

  /** What is not installed; null when all is there. */
  static async missing(postgres: string): Promise<string | null> {
    const absent = [PATRONI, ETCD].filter((program) => findProgram(program) === null);
    if (absent.length > 0) {
      const names = absent.map(({ name }) => name).join(' and ');
      return `${names} is not installed; "npm run bench:peers" installs it.`;
    }
    const { binDir } = await findPostgres(postgres);
    const tools = ['pg_ctl', 'pg_basebackup', 'pg_controldata', 'pg_isready', 'pg_rewind'];
    const found = await Promise.all(
      tools.map((tool) =>
        access(join(binDir, tool)).then(
          () => true,
          () => false,
        ),
      ),
    );
    const lacking = tools.filter((_, index) => found[index] === false);
    return lacking.length === 0 ? null : `Patroni needs ${lacking.join(', ')}, which ${binDir} has not.`;
  }

  static async start(pace: PatroniPace, postgres: string, signal: AbortSignal): Promise<PatroniCluster> {
    await using resources = new AsyncDisposableStack();
    const root = await mkdtemp(join(tmpdir(), 'lockstep-patroni-'));
    resources.defer(() => rm(root, { recursive: true, force: true, maxRetries: 5 }));
    await chmod(root, 0o755);
    await mkdir(join(root, 'logs'));
    const { binDir } = await findPostgres(postgres);
    const account = await resolveAccount();
    const etcdPort = await freePort();
    const etcd = await createEtcd(root, etcdPort, account);
    const nodes: PatroniNode[] = [];
    const password = randomUUID();
    for (const name of NAMES)
      nodes.push(await createNode({ name, root, etcdPort, binDir, password, account, pace }));
    const cluster = new PatroniCluster(pace.name, root, nodes, etcd, signal);
    resources.defer(() => cluster.#endAll());
    try {
      await etcd.start();
      for (const node of nodes) await node.process.start();
      await cluster.untilWhole();
    } catch (error) {
      throw new Error(`${(error as Error).message}\n${await cluster.logs()}`, { cause: error });
    }
    cluster.#resources = resources.move();
    return cluster;
  }

  private constructor(
    name: string,
    root: string,
    nodes: readonly PatroniNode[],
    etcd: NodeProcess,
    signal: AbortSignal,
  ) {
    this.name = name;
    this.#root = root;
    this.nodes = nodes;
    this.#etcd = etcd;
    this.#signal = signal;
  }

  /** The term is the leader's timeline: every promotion begins a new one. */
  async reign(): Promise<Reign> {
    for (const { name, status } of await this.#statuses()) {
      if (status !== null && isLeading(status)) return { leader: name, term: status.timeline ?? 0 };
    }
    throw new Error('Nobody leads.');
  }

  async untilWhole(): Promise<Reign> {
    const deadlineMs = performance.now() + WHOLE_PATIENCE_MS;
    let statuses = await this.#statuses();
    for (;;) {
      const leaders = statuses.filter(({ status }) => status !== null && isLeading(status));
      const [leader] = leaders;
      const areRunning = statuses.every(({ status }) => status?.state === 'running');
      const streaming = leader?.status?.replication?.filter(({ state }) => state === 'streaming') ?? [];
      if (leaders.length === 1 && leader !== undefined && areRunning && streaming.length === NAMES.length - 1)
        return { leader: leader.name, term: leader.status?.timeline ?? 0 };
      if (performance.now() > deadlineMs) break;
      await delay(200, undefined, { signal: this.#signal });
      statuses = await this.#statuses();
    }
    throw new Error(`${this.name}: not whole after ${WHOLE_PATIENCE_MS} ms: ${JSON.stringify(statuses)}`);
  }

  async pidsOf(node: string, part: Part): Promise<number[]> {
    const { process, folder } = this.#node(node);
    const agent = part === 'postgres' ? [] : await process.tree();
    if (part === 'agent') return agent;
    const postmaster = await readPostmaster(join(folder, 'data'));
    const postgres = postmaster === null ? [] : await listProcessTree(postmaster);
    return [...new Set([...agent, ...postgres])];
  }

  async start(node: string): Promise<void> {
    await this.#node(node).process.start();
  }

  async switchover(leader: string): Promise<void> {
    const response = await fetch(`http://127.0.0.1:${this.#node(leader).restPort}/switchover`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ leader }),
    });
    if (!response.ok) throw new Error(`${this.name} refused the switchover: ${await response.text()}`);
  }

  setLink(): Promise<void> {
    return Promise.reject(new Error(`${this.name} runs on the loopback.`));
  }

  eventsSince(): Promise<LoggedEvent[]> {
    return Promise.resolve([]);
  }

  async processGroups(leader: string): Promise<ProcessGroup[]> {
    const groups: ProcessGroup[] = [{ name: 'etcd', pids: await this.#etcd.tree() }];
    for (const { name, process } of this.nodes) {
      const role = name === leader ? 'of the leader' : `of follower ${name}`;
      const postgres = await this.pidsOf(name, 'postgres');
      const agent = (await process.tree()).filter((pid) => !postgres.includes(pid));
      groups.push({ name: `Patroni ${role}`, pids: agent }, { name: `PostgreSQL ${role}`, pids: postgres });
    }
    return groups;
  }

  async logs(): Promise<string> {
    return tailLogs(
      ['etcd', ...NAMES].map((name) => join(this.#root, 'logs', `${name}.log`)),
      LOG_LINES,
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#resources?.disposeAsync();
  }

  /** Patroni first, so that it starts nothing again; PostgreSQL gets a moment to give back its shared memory. */
  async #endAll(): Promise<void> {
    for (const { process } of this.nodes) if (process.pid !== null) signalAll([process.pid], 'SIGKILL');
    const deadlineMs = performance.now() + STOP_PATIENCE_MS;
    for (const { folder } of this.nodes) {
      for (;;) {
        const postmaster = await readPostmaster(join(folder, 'data'));
        if (postmaster === null) break;
        const tree = await listProcessTree(postmaster);
        signalAll(tree, 'SIGCONT');
        if (performance.now() < deadlineMs) signalAll([postmaster], 'SIGQUIT');
        else signalAll(tree, 'SIGKILL');
        await delay(50);
      }
    }
    await this.#etcd.end(STOP_PATIENCE_MS);
  }

  #node(name: string): PatroniNode {
    const node = this.nodes.find((candidate) => candidate.name === name);
    if (node === undefined) throw new Error(`There is no node ${name}.`);
    return node;
  }

  async #statuses(): Promise<{ readonly name: string; readonly status: PatroniStatus | null }[]> {
    return Promise.all(
      this.nodes.map(async ({ name, restPort }) => {
        const status = await fetch(`http://127.0.0.1:${restPort}/patroni`, {
          signal: AbortSignal.timeout(3_000),
        })
          .then((response) => response.json() as Promise<PatroniStatus>)
          .catch(() => null);
        return { name, status };
      }),
    );
  }
}

/** Patroni 4 says `primary`. */
function isLeading({ role, state }: PatroniStatus): boolean {
  return state === 'running' && (role === 'master' || role === 'primary');
}

/** The kernel ends them, should the bench be killed. */
const WITH_PARENT = ['setpriv', '--pdeathsig', 'TERM'];

async function createEtcd(root: string, port: number, account: PostgresAccount | null): Promise<NodeProcess> {
  const folder = join(root, 'etcd');
  await createPrivateFolder(folder, account);
  const clients = `http://127.0.0.1:${port}`;
  const members = `http://127.0.0.1:${await freePort()}`;
  const program = findProgram(ETCD);
  if (program === null) throw new Error('etcd is not installed.');
  const words = ['--name', 'e1', '--data-dir', folder, '--initial-cluster', `e1=${members}`];
  words.push('--listen-client-urls', clients, '--advertise-client-urls', clients);
  words.push('--listen-peer-urls', members, '--initial-advertise-peer-urls', members);
  const command = [...WITH_PARENT, program, ...words];
  return new NodeProcess({ command, logPath: join(root, 'logs', 'etcd.log'), account });
}

async function createNode(options: {
  readonly name: string;
  readonly root: string;
  readonly etcdPort: number;
  readonly binDir: string;
  readonly password: string;
  readonly account: PostgresAccount | null;
  readonly pace: PatroniPace;
}): Promise<PatroniNode> {
  const { name, root, account, etcdPort, binDir, password, pace } = options;
  const folder = join(root, name);
  await createPrivateFolder(folder, account);
  const [port, restPort] = [await freePort(), await freePort()];
  const config = join(folder, 'patroni.yml');
  await writeFile(
    config,
    renderPatroniConfig({ name, folder, port, restPort, etcdPort, binDir, password, pace }),
    { mode: 0o644 },
  );
  const program = findProgram(PATRONI);
  if (program === null) throw new Error('Patroni is not installed.');
  const command = [...WITH_PARENT, program, config];
  const process = new NodeProcess({
    command,
    logPath: join(root, 'logs', `${name}.log`),
    account,
    environment: { HOME: folder },
  });
  const address = { host: '127.0.0.1', port, user: 'postgres', password, database: 'postgres' };
  return { name, address, folder, restPort, process };
}
