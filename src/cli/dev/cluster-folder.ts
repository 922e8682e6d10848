import { randomBytes, randomUUID } from 'node:crypto';
import { mkdir, readFile, rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import {
  appNodes,
  dataNodes,
  delayMsOf,
  parseClusterConfig,
  readClusterConfig,
  voters,
} from '../../leader-follower/config/config.ts';
import type { ClusterConfig, NodeConfig } from '../../leader-follower/config/config.ts';
import { LockstepError } from '../../model/errors.ts';
import { reachableFolder, resolveAccount } from '../../postgres/account.ts';
import { isHost } from '../../postgres/addresses.ts';
import { isPresent, replaceFile } from '../../postgres/data-folder.ts';
import { readLockHolder, tryLockFolder } from '../../host/folder-lock.ts';
import type { FolderLock } from '../../host/folder-lock.ts';
import { processStart } from '../../host/process-start.ts';
import { renderPassLine } from '../../postgres/settings.ts';
import { choosePorts, takePort } from './ports.ts';

const DEFAULT_NODES = 3;
const DEFAULT_PG_PORT = 5441;
const DEFAULT_AGENT_PORT = 7411;

export interface ClusterOptions {
  readonly stateDir: string;
  readonly nodes: number | null;
  readonly pgPort: number | null;
  /** The first port of a new cluster's agents; null or missing for the usual ones. */
  readonly agentPort?: number | null;
  /** Whether a new cluster has a witness beside its nodes. */
  readonly witness: boolean;
  /** How far a node more of a new cluster stays behind, like `10min`; null or missing for none. */
  readonly delayed?: string | null;
  readonly postgres: string | null;
  /** Endpoints of the etcd that coordinates; null leaves a new cluster to its agents and an old one as it is. */
  readonly etcd: readonly string[] | null;
}

/** A cluster on this machine: its configuration and where its files are. */
export interface ClusterFolder {
  readonly config: ClusterConfig;
  readonly configPath: string;
  /** Where nodes keep their data: below `stateDir`, or elsewhere when PostgreSQL's user cannot get there. */
  readonly dataRoot: string;
  /** What a person should know, e.g. that other ports were taken. */
  readonly notes: readonly string[];
  /** Held by this process: no second one runs this cluster meanwhile. */
  readonly lock: FolderLock;
}

/** What a running `lockstep dev` leaves for the other commands. */
export interface RunFile {
  readonly pid: number;
  /** See processStart: its number may belong to another process by now. */
  readonly startedAt: string | null;
  readonly adminUrl: string;
  /** For commands to it. Made anew for each run, so that it is of no use to who takes the port afterwards. */
  readonly token: string;
}

/**
 * Takes `stateDir` for this process, and opens the cluster there or creates one with random secrets (mode 0600). Throws
 * CONFIG_INVALID when another process runs it.
 */
export async function openClusterFolder(options: ClusterOptions): Promise<ClusterFolder> {
  const stateDir = resolve(options.stateDir);
  const configPath = join(stateDir, 'cluster.json');
  const dataRoot = await reachableFolder(stateDir, await resolveAccount());
  const notes: string[] = [];
  if (dataRoot !== stateDir) notes.push(`data is in ${dataRoot}, where PostgreSQL's own user can reach it`);
  await mkdir(stateDir, { recursive: true, mode: 0o755 });
  const lock = tryLockFolder(stateDir);
  if (lock === null) throw await runsAlready(stateDir);
  const config = (await isPresent(configPath))
    ? await reopenConfig(configPath, options, notes)
    : await createConfig(options, notes);
  await writeConfig(configPath, config);
  await writePsqlFiles(stateDir, config);
  return { config, configPath, dataRoot, notes, lock };
}

async function runsAlready(stateDir: string): Promise<LockstepError> {
  const running = await readRunFile(stateDir);
  const pid = running?.pid ?? readLockHolder(stateDir);
  const where = [
    ...(pid === null ? [] : [`process ${pid}`]),
    ...(running === null ? [] : [running.adminUrl]),
  ];
  return new LockstepError(
    'CONFIG_INVALID',
    `This cluster runs already${where.length === 0 ? '' : ` (${where.join(', ')})`}. Stop it with Ctrl-C there, or use another folder with --state.`,
    { details: { pid } },
  );
}

/** Writes cluster.json, mode 0600. */
export async function writeConfig(path: string, config: ClusterConfig): Promise<void> {
  checkHosts(config);
  await replaceFile(path, `${JSON.stringify(config, null, 2)}\n`, null);
}

/** What these files say is believed by whoever reads them, so it is checked again where it is written. */
function checkHosts({ nodes }: ClusterConfig): void {
  const wrong = nodes.find(({ host }) => !isHost(host));
  if (wrong === undefined) return;
  throw new LockstepError('CONFIG_INVALID', `${wrong.name} has an address that is none; it is not written.`);
}

async function createConfig(options: ClusterOptions, notes: string[]): Promise<ClusterConfig> {
  const count = options.nodes ?? DEFAULT_NODES;
  const first = options.pgPort ?? DEFAULT_PG_PORT;
  const withData = count + Number(options.delayed != null);
  const ports = await choosePorts(first, withData, { isExact: options.pgPort !== null, flag: '--pg-port' });
  const firstAgent = options.agentPort ?? DEFAULT_AGENT_PORT;
  const agentPorts = await choosePorts(firstAgent, withData + Number(options.witness), {
    isExact: false,
    flag: 'agentPort in cluster.json',
  });
  noteTaken(notes, first, ports);
  const witness = { name: 'w1', host: '127.0.0.1', agentPort: agentPorts[withData], witness: true };
  return parseClusterConfig(
    {
      id: randomUUID(),
      name: 'dev',
      nodes: [
        ...ports.map((port, index) => ({
          name: `n${index + 1}`,
          host: '127.0.0.1',
          port,
          agentPort: agentPorts[index],
          ...(index === count ? { delay: options.delayed } : {}),
        })),
        ...(options.witness ? [witness] : []),
      ],
      postgres: options.postgres ?? 'auto',
      ...(options.etcd === null ? {} : { coordination: { kind: 'etcd', endpoints: options.etcd } }),
      secrets: { superuser: secret(), replication: secret(), app: secret(), agent: secret() },
    },
    'the new configuration',
  );
}

/** An existing cluster keeps its data and names; only ports that others took meanwhile change. */
async function reopenConfig(path: string, options: ClusterOptions, notes: string[]): Promise<ClusterConfig> {
  const config = await readClusterConfig(path);
  const count = dataNodes(config).length;
  // Also as many as it was founded with.
  const founded = dataNodes(config).filter((node) => node.voter).length;
  if (options.nodes !== null && options.nodes !== count && options.nodes !== founded) {
    throw new LockstepError(
      'CONFIG_INVALID',
      `The cluster in ${path} has ${count} nodes, not ${options.nodes}. Leave --nodes out, or remove its folder to begin anew.`,
    );
  }
  if (options.witness && !config.nodes.some((node) => node.witness)) {
    throw new LockstepError(
      'CONFIG_INVALID',
      `The cluster in ${path} has no witness. Leave --witness out, or remove its folder to begin anew.`,
    );
  }
  const delays = dataNodes(config).flatMap((node) => node.delay ?? []);
  const wantedMs = options.delayed == null ? 0 : delayMsOf({ delay: options.delayed });
  if (wantedMs > 0 && delays.length > 0 && delays.every((delay) => delayMsOf({ delay }) !== wantedMs)) {
    throw new LockstepError(
      'CONFIG_INVALID',
      `The delayed node of the cluster in ${path} stays ${delays.join(', ')} behind, not ${options.delayed}. Leave --delayed out, or remove that node first ("lockstep node remove").`,
    );
  }
  const { coordination } = config;
  const endpoints = coordination.kind === 'etcd' ? coordination.endpoints : [];
  const asked = options.etcd?.map((text) => (URL.canParse(text) ? new URL(text).origin : text));
  if (asked !== undefined && asked.join() !== endpoints.join()) {
    throw new LockstepError(
      'CONFIG_INVALID',
      `The cluster in ${path} is coordinated by ${endpoints.join(', ') || 'its agents'}. Leave --etcd out, or change "coordination.endpoints" there if they are other members of the same etcd.`,
    );
  }
  if (config.fixedPorts) {
    await checkPorts(path, config, options.pgPort);
    return withPostgres(config, options.postgres);
  }
  const wanted = options.pgPort ?? config.nodes[0]?.port ?? DEFAULT_PG_PORT;
  // The others look for a node that was added later where it was added.
  const movable = voters(config);
  const except = config.nodes.filter((node) => !node.voter).flatMap((node) => [node.port, node.agentPort]);
  const areFree = await Promise.all(
    movable.flatMap((node) => [node.witness || takePort(node.port), takePort(node.agentPort)]),
  );
  if (options.pgPort === null && areFree.every(Boolean)) return withPostgres(config, options.postgres);
  const withData = movable.filter((node) => !node.witness);
  const ports = await choosePorts(wanted, withData.length, {
    isExact: options.pgPort !== null,
    flag: '--pg-port',
    except,
  });
  const agentPorts = await choosePorts(options.agentPort ?? DEFAULT_AGENT_PORT, movable.length, {
    isExact: false,
    flag: 'agentPort in cluster.json',
    except: [...except, ...ports],
  });
  noteTaken(notes, wanted, ports);
  const nodes = config.nodes.map((node): NodeConfig => ({
    ...node,
    port: ports[withData.indexOf(node)] ?? node.port,
    agentPort: agentPorts[movable.indexOf(node)] ?? node.agentPort,
  }));
  return withPostgres({ ...config, nodes }, options.postgres);
}

/** Throws CONFIG_INVALID when a node cannot listen where the others look for it. */
async function checkPorts(path: string, config: ClusterConfig, pgPort: number | null): Promise<void> {
  if (pgPort !== null && config.nodes.every((node) => node.port !== pgPort)) {
    throw new LockstepError(
      'CONFIG_INVALID',
      `The nodes of the cluster in ${path} cannot move to port ${pgPort}: since votes were changed they look for each other where they are. Leave --pg-port out.`,
    );
  }
  for (const { name, port, agentPort, witness } of config.nodes) {
    for (const own of witness ? [agentPort] : [port, agentPort]) {
      if (await takePort(own)) continue;
      throw new LockstepError(
        'CONFIG_INVALID',
        `Port ${own} of node ${name} is in use, and the nodes of the cluster in ${path} cannot move: since votes were changed they look for each other where they are. End what listens there, and try again.`,
        { details: { name, port: own } },
      );
    }
  }
}

function withPostgres(config: ClusterConfig, postgres: string | null): ClusterConfig {
  return postgres === null ? config : { ...config, postgres };
}

function noteTaken(notes: string[], first: number, ports: readonly number[]): void {
  if (ports.every((port, index) => port === first + index)) return;
  notes.push(`some ports from ${first} on are in use; PostgreSQL listens on ${ports.join(', ')}`);
}

function secret(): string {
  return randomBytes(18).toString('base64url');
}

/** A libpq password file, so that no printed command line holds a secret. */
function renderPassFile(config: ClusterConfig): string {
  return renderPassLine(config.appUser, config.secrets.app);
}

/** The connection string for the client: all nodes, the app's role and database. */
export function appUrl(config: ClusterConfig): string {
  const hosts = appNodes(config).map(place).join(',');
  return `postgresql://${credentials(config)}@${hosts}/${config.database}`;
}

/**
 * One node's connection string; works in psql as it is. With `passFile` it names that file instead of the password, and
 * with null neither.
 */
export function nodeDsn(
  config: ClusterConfig,
  node: { readonly host: string; readonly port: number },
  passFile?: string | null,
): string {
  const { appUser, database } = config;
  const who = passFile === undefined ? credentials(config) : encodeURIComponent(appUser);
  const query = passFile == null ? '' : `?passfile=${encodeURIComponent(passFile)}`;
  return `postgresql://${who}@${place(node)}/${database}${query}`;
}

function credentials({ appUser, secrets }: ClusterConfig): string {
  return `${encodeURIComponent(appUser)}:${encodeURIComponent(secrets.app)}`;
}

/** As addresses stand before a port. */
function place({ host, port }: { readonly host: string; readonly port: number }): string {
  return `${host.includes(':') ? `[${host}]` : host}:${port}`;
}

const SERVICE_FILE = 'pg_service.conf';

/** A psql command that reaches whoever leads; short enough to be copied from a terminal. */
export function psqlLine(stateDir: string): string {
  return `PGSERVICEFILE=${join(resolve(stateDir), SERVICE_FILE)} psql service=lockstep`;
}

/** A libpq service file (PostgreSQL documentation, "The Connection Service File") that finds the leader. */
function renderServiceFile(config: ClusterConfig, stateDir: string): string {
  checkHosts(config);
  const lines = [
    '[lockstep]',
    `host=${appNodes(config)
      .map((node) => node.host)
      .join(',')}`,
    `port=${appNodes(config)
      .map((node) => node.port)
      .join(',')}`,
    `user=${config.appUser}`,
    `dbname=${config.database}`,
    'target_session_attrs=read-write',
    `passfile=${join(stateDir, 'pgpass')}`,
  ];
  return `${lines.join('\n')}\n`;
}

/** What {@link psqlLine} reads: they name all nodes, and so are written anew when one comes or goes. */
export async function writePsqlFiles(stateDir: string, config: ClusterConfig): Promise<void> {
  await replaceFile(join(stateDir, 'pgpass'), renderPassFile(config), null);
  await replaceFile(join(stateDir, SERVICE_FILE), renderServiceFile(config, stateDir), null);
}

export async function writeRunFile(stateDir: string, run: RunFile): Promise<void> {
  await replaceFile(join(stateDir, 'run.json'), JSON.stringify(run), null);
}

export async function removeRunFile(stateDir: string): Promise<void> {
  await rm(join(stateDir, 'run.json'), { force: true });
}

/** Null when no `lockstep dev` runs on this folder. */
export async function readRunFile(stateDir: string): Promise<RunFile | null> {
  try {
    const run = JSON.parse(await readFile(join(resolve(stateDir), 'run.json'), 'utf8')) as RunFile;
    return run.startedAt !== null && run.startedAt === processStart(run.pid) ? run : null;
  } catch {
    return null;
  }
}
