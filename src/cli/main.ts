import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { Command, InvalidArgumentError, Option } from 'commander';
import { findNode } from '../leader-follower/config/config.ts';
import { LockstepError } from '../model/errors.ts';
import { runAgent } from './commands/agent-command.ts';
import { runDev } from './dev/dev.ts';
import { findLocalCluster } from './commands/local-cluster.ts';
import { addLeaderlessCommands } from './leaderless/command.ts';
import { readLeaderlessConfig } from './leaderless/folder.ts';
import { addNodeCommands } from './commands/node-command.ts';
import { addPlanCommands } from './commands/plan-commands.ts';
import { addPolicyCommands } from './policy/policy-command.ts';
import { addRescueCommands } from './rescue/rescue-commands.ts';
import { addRestartCommand } from './commands/restart-command.ts';
import { addSettingsCommands } from './commands/settings-command.ts';
import { addCompareCommand } from './follow/compare-command.ts';
import { addFollowCommand } from './follow/follow-command.ts';
import { printStatus } from './commands/status-command.ts';
import { addSwitchoverCommand } from './commands/switchover-command.ts';
import { runDevRegions } from './regions/dev-regions.ts';
import { addRegionsCommands } from './regions/regions-commands.ts';
import { CONFIG, configPathOf, DEFAULT_STATE_DIR, STATE, stateDirOf } from './commands/cluster-place.ts';
import type { ClusterPlace } from './commands/cluster-place.ts';
import { addDashboardCommand } from './commands/dashboard-command.ts';
import { parsePort } from './dev/ports.ts';
import { addInitCommand } from './init/init-command.ts';

const program = new Command('lockstep')
  .description(
    'Replication for PostgreSQL: a leader, its followers, and failover that loses no synchronous commit.',
  )
  .version(readVersion(), '--version', 'print the version of Lockstep')
  .showHelpAfterError('Run "lockstep --help" for what there is.')
  .configureHelp({ showGlobalOptions: true });

program
  .command('dev')
  .description('run a cluster on this machine until Ctrl-C; its data stays')
  .option(...STATE)
  .option('--nodes <n>', 'how many nodes (default 3)', parseCount)
  .option('--witness', 'a node more that only votes, so that two with data suffice', false)
  .option('--delayed <duration>', 'a node more that stays so far behind, to undo mistakes from, e.g. 10min')
  .option('--pg-port <port>', "PostgreSQL's first port (default 5441, else the next free ones)", parsePort)
  .option('--dashboard-port <port>', "the dashboard's port (default 7400, else the next free one)", parsePort)
  .option('--postgres <which>', 'auto, system, embedded, or the path of a bin folder')
  .option(
    '--etcd <endpoints>',
    'let this etcd coordinate, e.g. http://127.0.0.1:2379 (several with commas)',
    parseList,
  )
  .option('--leaderless', 'three independent servers beside it, for quorum collections', false)
  .option(
    '--run <command>',
    'an app to run once the cluster is ready, with DATABASE_URL (and LEADERLESS_URLS) set',
  )
  .option('--regions <names>', 'instead, a cluster for each of these regions, such as eu,us,ap', parseList)
  .option('--regions-definition <file>', 'what the regions share; see docs/multi-leader.md')
  .option(
    '--prepare <command>',
    "with --regions: creates the tables in a region's database before it is linked",
  )
  .action(
    (options: {
      state: string;
      nodes?: number;
      witness: boolean;
      delayed?: string;
      pgPort?: number;
      dashboardPort?: number;
      postgres?: string;
      etcd?: readonly string[];
      run?: string;
      regions?: readonly string[];
      regionsDefinition?: string;
      prepare?: string;
      leaderless: boolean;
    }) => {
      const shared = {
        state: options.state,
        nodes: options.nodes ?? null,
        pgPort: options.pgPort ?? null,
        postgres: options.postgres ?? null,
        run: options.run ?? null,
      };
      if (options.regions !== undefined)
        return runDevRegions({
          ...shared,
          regions: options.regions,
          dashboardPort: options.dashboardPort ?? null,
          definition: options.regionsDefinition ?? null,
          prepare: options.prepare ?? null,
        });
      return runDev({
        ...shared,
        witness: options.witness,
        delayed: options.delayed ?? null,
        dashboardPort: options.dashboardPort ?? null,
        etcd: options.etcd ?? null,
        leaderless: options.leaderless,
      });
    },
  );

program
  .command('status')
  .description('who leads, who follows, and how far behind')
  .option(...STATE)
  .option(...CONFIG)
  .option('--json', 'print one JSON document', false)
  .option('--with-password', "with the app's password in each dsn of the document", false)
  .action((options: ClusterPlace & { json: boolean; withPassword: boolean }) => printStatus(options));

addSwitchoverCommand(program);
addPlanCommands(program);
addSettingsCommands(program);
addRestartCommand(program);
addNodeCommands(program);
addPolicyCommands(program);
addRescueCommands(program);
addInitCommand(program);
addDashboardCommand(program);
addRegionsCommands(program, STATE);
addLeaderlessCommands(program, STATE);
addFollowCommand(program);
addCompareCommand(program);

program
  .command('kill')
  .description("kill -9 a node's agent and PostgreSQL, to see what happens")
  .argument('<node>')
  .option(...STATE)
  .option(...CONFIG)
  .action(async (node: string, options: ClusterPlace) => {
    const cluster = await findLocalCluster(process.cwd(), stateDirOf(options));
    if (!(await isIndependent(stateDirOf(options), node))) findNode(cluster.config, node);
    await cluster.kill(node);
    process.stdout.write(`${node} is dead. Bring it back with "lockstep start ${node}".\n`);
  });

program
  .command('start')
  .description('start a node that was killed; it comes back as a follower')
  .argument('<node>')
  .option(...STATE)
  .option(...CONFIG)
  .action(async (node: string, options: ClusterPlace) => {
    const cluster = await findLocalCluster(process.cwd(), stateDirOf(options));
    const independent = await isIndependent(stateDirOf(options), node);
    if (!independent) findNode(cluster.config, node);
    await cluster.start(node);
    const command = independent ? 'lockstep leaderless status' : 'lockstep status';
    process.stdout.write(`${node} starts; "${command}" shows how it rejoins.\n`);
  });

program
  .command('agent')
  .description('run the agent beside one PostgreSQL')
  .requiredOption('--node <name>', 'which node this is')
  .option('--state <folder>', 'where this machine keeps its node', DEFAULT_STATE_DIR)
  .addOption(new Option('--data <folder>', 'the same as --state').hideHelp())
  .option(...CONFIG)
  .option('--until-stdin-closes', 'end also when standard input closes: whoever started it is gone', false)
  .action(
    ({ data, ...options }: ClusterPlace & { node: string; untilStdinCloses: boolean; data?: string }) => {
      const place = data === undefined ? options : { ...options, state: data };
      return runAgent({ ...place, config: configPathOf(place), data: resolve(place.state) });
    },
  );

async function isIndependent(stateDir: string, node: string): Promise<boolean> {
  const config = await readLeaderlessConfig(stateDir);
  return config?.nodes.some(({ name }) => name === node) === true;
}

function readVersion(): string {
  const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
}

function parseList(text: string): readonly string[] {
  return text.split(',').map((item) => item.trim());
}

function parseCount(text: string): number {
  const count = Number(text);
  if (!Number.isInteger(count) || count < 1 || count > 9)
    throw new InvalidArgumentError('A local cluster has 1 to 9 nodes.');
  return count;
}

try {
  await program.parseAsync();
} catch (error) {
  // An error of ours is one sentence with its remedy; anything else is a bug and shows where.
  const text = error instanceof LockstepError ? error.message : ((error as Error).stack ?? String(error));
  process.stderr.write(`lockstep: ${text}\n`);
  process.exitCode = 1;
}
