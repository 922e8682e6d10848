import { Command, InvalidArgumentError } from 'commander';
import { findNode } from '../leader-follower/config/config.ts';
import { LockstepError } from '../model/errors.ts';
import { runAgent } from './commands/agent-command.ts';
import { DEFAULT_STATE_DIR } from './dev/cluster-folder.ts';
import { runDev } from './dev/dev.ts';
import { findLocalCluster } from './commands/local-cluster.ts';
import { addLeaderlessCommands } from './leaderless/command.ts';
import { readLeaderlessConfig } from './leaderless/folder.ts';
import { addNodeCommands } from './commands/node-command.ts';
import { addPlanCommands } from './commands/plan-commands.ts';
import { addRescueCommands } from './rescue/rescue-commands.ts';
import { addRestartCommand } from './commands/restart-command.ts';
import { addSettingsCommands } from './commands/settings-command.ts';
import { addCompareCommand } from './commands/compare-command.ts';
import { addFollowCommand } from './commands/follow-command.ts';
import { printStatus } from './commands/status-command.ts';
import { addSwitchoverCommand } from './commands/switchover-command.ts';
import { runDevRegions } from './regions/dev-regions.ts';
import { addRegionsCommands } from './regions/regions-commands.ts';

const program = new Command('lockstep')
  .description('Replication for PostgreSQL: a leader, its followers, and failover that loses nothing.')
  .showHelpAfterError('Run "lockstep --help" for what there is.')
  .configureHelp({ showGlobalOptions: true });

const state = ['--state <folder>', 'folder of the cluster', DEFAULT_STATE_DIR] as const;

program
  .command('dev')
  .description('run a cluster on this machine until Ctrl-C; its data stays')
  .option(...state)
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
  .option(...state)
  .option('--json', 'print one JSON document', false)
  .action((options: { state: string; json: boolean }) => printStatus(options));

addSwitchoverCommand(program, state);
addPlanCommands(program, state);
addSettingsCommands(program, state);
addRestartCommand(program, state);
addNodeCommands(program, state);
addRescueCommands(program, state);
addRegionsCommands(program, state);
addLeaderlessCommands(program, state);
addFollowCommand(program);
addCompareCommand(program);

program
  .command('kill')
  .description("kill -9 a node's agent and PostgreSQL, to see what happens")
  .argument('<node>')
  .option(...state)
  .action(async (node: string, options: { state: string }) => {
    const cluster = await findLocalCluster(process.cwd(), options.state);
    if (!(await isIndependent(options.state, node))) findNode(cluster.config, node);
    await cluster.kill(node);
    process.stdout.write(`${node} is dead. Bring it back with "lockstep start ${node}".\n`);
  });

program
  .command('start')
  .description('start a node that was killed; it comes back as a follower')
  .argument('<node>')
  .option(...state)
  .action(async (node: string, options: { state: string }) => {
    const cluster = await findLocalCluster(process.cwd(), options.state);
    const independent = await isIndependent(options.state, node);
    if (!independent) findNode(cluster.config, node);
    await cluster.start(node);
    const command = independent ? 'lockstep leaderless status' : 'lockstep status';
    process.stdout.write(`${node} starts; "${command}" shows how it rejoins.\n`);
  });

program
  .command('agent')
  .description('run the agent beside one PostgreSQL')
  .requiredOption('--config <file>', 'the cluster.json that all agents share')
  .requiredOption('--data <folder>', 'where this machine keeps its nodes')
  .requiredOption('--node <name>', 'which node this is')
  .option('--until-stdin-closes', 'end also when standard input closes: whoever started it is gone', false)
  .action((options: { config: string; data: string; node: string; untilStdinCloses: boolean }) =>
    runAgent(options),
  );

async function isIndependent(stateDir: string, node: string): Promise<boolean> {
  const config = await readLeaderlessConfig(stateDir);
  return config?.nodes.some(({ name }) => name === node) === true;
}

function parsePort(text: string): number {
  const port = Number(text);
  if (!Number.isInteger(port) || port < 1 || port > 65_535)
    throw new InvalidArgumentError('A port is a number from 1 to 65535.');
  return port;
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
