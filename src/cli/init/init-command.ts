import { randomBytes, randomUUID } from 'node:crypto';
import { constants, writeSync, closeSync, fsyncSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Command } from 'commander';
import { openOwnFile } from '../../host/own-file.ts';
import { dataNodes, parseClusterConfig, voters } from '../../leader-follower/config/config.ts';
import type { ClusterConfig } from '../../leader-follower/config/config.ts';
import { portProblem } from '../../leader-follower/members/core/node-list.ts';
import { LockstepError } from '../../model/errors.ts';
import { isPresent } from '../../postgres/data-folder.ts';
import { appUrl } from '../dev/cluster-folder.ts';
import { describeWeakness, parseServer, PRESET_AGENT_PORT, PRESET_PORT } from './cluster-plan.ts';
import { askForCluster, withTerminal } from './questions.ts';
import { renderUnit } from './systemd-unit.ts';

interface InitOptions {
  readonly name?: string;
  readonly node: readonly string[];
  readonly witness?: string;
  readonly allow: readonly string[];
  readonly database: string;
  readonly appUser: string;
  readonly postgres: string;
  readonly user: string;
  readonly config: string;
  readonly state: string;
  readonly out: string;
}

const LOCKSTEP = fileURLToPath(new URL('../../../bin/lockstep.js', import.meta.url));

/** `init`: the files that servers of one's own need. It starts nothing. */
export function addInitCommand(program: Command): void {
  program
    .command('init')
    .description('write cluster.json and a systemd unit for servers of your own')
    .option('--name <name>', 'of the cluster')
    .option('--node <name=host[:port[:agentPort]]>', 'a server; once for each', collect, [])
    .option('--witness <name=host[:agentPort]>', 'a machine that only votes, so that two servers suffice')
    .option('--allow <network>', 'a network that the app connects from; once for each', collect, [])
    .option('--database <name>', "the app's database", 'app')
    .option('--app-user <name>', "the app's role", 'app')
    .option('--postgres <which>', 'auto, system, embedded, or the path of a bin folder', 'auto')
    .option('--user <name>', 'whom the agents and PostgreSQL run as', 'postgres')
    .option('--config <file>', 'where cluster.json will be on each server', '/etc/lockstep/cluster.json')
    .option('--state <folder>', 'where each server keeps its node', '/var/lib/lockstep')
    .option('--out <folder>', 'where the files are written now', '.')
    .action((options: InitOptions) => initCluster(options));
}

async function initCluster(options: InitOptions): Promise<void> {
  const asked = options.node.length === 0 ? await ask() : null;
  const config = createClusterConfig({
    ...options,
    name: options.name ?? asked?.name ?? 'main',
    nodes: asked?.nodes ?? options.node,
    witness: options.witness ?? asked?.witness ?? null,
    allow: [...options.allow, ...(asked?.allow ?? [])],
  });
  const out = resolve(options.out);
  await mkdir(out, { recursive: true });
  const unit = renderUnit({
    command: [process.execPath, LOCKSTEP],
    configPath: options.config,
    stateDir: options.state,
    user: options.user,
  });
  const files = { config: join(out, 'cluster.json'), unit: join(out, 'lockstep@.service') };
  for (const path of Object.values(files)) await assertNew(path);
  writeNew(files.config, `${JSON.stringify(config, null, 2)}\n`);
  writeNew(files.unit, unit);
  process.stdout.write(`${describeSteps(config, options, files).join('\n')}\n`);
}

function ask(): ReturnType<typeof askForCluster> {
  if (process.stdin.isTTY) return withTerminal(askForCluster);
  throw new LockstepError(
    'CONFIG_INVALID',
    'Name the servers: lockstep init --node n1=10.0.0.1 --node n2=10.0.0.2 --node n3=10.0.0.3. On a terminal it asks for them.',
  );
}

/** With every setting in it, also those that have their preset. Throws CONFIG_INVALID for what is no cluster. */
export function createClusterConfig(plan: {
  readonly name: string;
  readonly nodes: readonly string[];
  readonly witness: string | null;
  readonly allow: readonly string[];
  readonly database: string;
  readonly appUser: string;
  readonly postgres: string;
}): ClusterConfig {
  const nodes = plan.nodes
    .map((text) => parseServer(text, ['port', 'agentPort']))
    .map(({ name, host, ports: [port = PRESET_PORT, agentPort = PRESET_AGENT_PORT] }) => ({
      name,
      host,
      port,
      agentPort,
    }));
  const witness = plan.witness === null ? null : parseServer(plan.witness, ['agentPort']);
  const config = parseClusterConfig(
    {
      id: randomUUID(),
      name: plan.name,
      nodes: [
        ...nodes,
        ...(witness === null
          ? []
          : [
              {
                name: witness.name,
                host: witness.host,
                agentPort: witness.ports[0] ?? PRESET_AGENT_PORT,
                witness: true,
              },
            ]),
      ],
      allowedNetworks: plan.allow,
      database: plan.database,
      appUser: plan.appUser,
      postgres: plan.postgres,
      secrets: { superuser: secret(), replication: secret(), app: secret(), agent: secret() },
    },
    'The cluster as it was named',
  );
  for (const [index, node] of config.nodes.entries()) {
    const problem = portProblem(config.nodes.slice(0, index), node);
    if (problem === null) continue;
    throw new LockstepError(
      'CONFIG_INVALID',
      `${problem} Where ${node.name} is a machine of its own, name its own address. Nothing was written.`,
    );
  }
  return config;
}

function secret(): string {
  return randomBytes(24).toString('base64url');
}

/** Never in place of another: it may be a running cluster's, and its secrets are nowhere else. */
async function assertNew(path: string): Promise<void> {
  if (!(await isPresent(path))) return;
  throw new LockstepError(
    'CONFIG_INVALID',
    `Name another folder with --out: ${path} is there already. Nothing was changed.`,
  );
}

function writeNew(path: string, text: string): void {
  const file = openOwnFile(path, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL);
  try {
    writeSync(file, text);
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
}

function describeSteps(
  config: ClusterConfig,
  options: InitOptions,
  files: { readonly config: string; readonly unit: string },
): readonly string[] {
  const weakness = describeWeakness(voters(config).length, dataNodes(config).length);
  return [
    `${files.config} holds the cluster's secrets: keep a copy where only you can read it.`,
    ...(weakness === null ? [] : [weakness]),
    `On each server, as root (docs/run-your-own.md has every step):`,
    `  install -D -o ${options.user} -m 600 cluster.json ${options.config}`,
    `  install -d -o ${options.user} -m 755 ${options.state}`,
    `  install -m 644 lockstep@.service /etc/systemd/system/`,
    ...config.nodes.map(({ name, host }) => `  systemctl enable --now lockstep@${name}   # on ${host} only`),
    `Your app connects with ${appUrl({ ...config, secrets: { ...config.secrets, app: 'PASSWORD' } })}`,
    `where PASSWORD is "secrets.app" in cluster.json.`,
  ];
}

function collect(value: string, before: readonly string[]): readonly string[] {
  return [...before, value];
}
