import { readFileSync } from 'node:fs';
import { Command } from 'commander';
import { STATE } from './commands/cluster-place.ts';

interface CommandGroup {
  readonly names: readonly string[];
  readonly add: (program: Command) => Promise<void>;
}

/** In the order of the help. Each is loaded only when it is needed: one that runs for months has no use for the others. */
const GROUPS: readonly CommandGroup[] = [
  { names: ['dev'], add: async (program) => (await import('./dev/dev-command.ts')).addDevCommand(program) },
  {
    names: ['status'],
    add: async (program) => (await import('./commands/status-command.ts')).addStatusCommand(program),
  },
  {
    names: ['switchover'],
    add: async (program) => (await import('./commands/switchover-command.ts')).addSwitchoverCommand(program),
  },
  {
    names: ['pause', 'resume'],
    add: async (program) => (await import('./commands/plan-commands.ts')).addPlanCommands(program),
  },
  {
    names: ['settings'],
    add: async (program) => (await import('./commands/settings-command.ts')).addSettingsCommands(program),
  },
  {
    names: ['restart'],
    add: async (program) => (await import('./commands/restart-command.ts')).addRestartCommand(program),
  },
  {
    names: ['node'],
    add: async (program) => (await import('./commands/node-command.ts')).addNodeCommands(program),
  },
  {
    names: ['policy'],
    add: async (program) => (await import('./policy/policy-command.ts')).addPolicyCommands(program),
  },
  {
    names: ['rescue'],
    add: async (program) => (await import('./rescue/rescue-commands.ts')).addRescueCommands(program),
  },
  {
    names: ['init'],
    add: async (program) => (await import('./init/init-command.ts')).addInitCommand(program),
  },
  {
    names: ['dashboard'],
    add: async (program) => (await import('./commands/dashboard-command.ts')).addDashboardCommand(program),
  },
  {
    names: ['regions'],
    add: async (program) =>
      (await import('./regions/regions-commands.ts')).addRegionsCommands(program, STATE),
  },
  {
    names: ['leaderless'],
    add: async (program) => (await import('./leaderless/command.ts')).addLeaderlessCommands(program, STATE),
  },
  {
    names: ['follow'],
    add: async (program) => (await import('./follow/follow-command.ts')).addFollowCommand(program),
  },
  {
    names: ['compare'],
    add: async (program) => (await import('./follow/compare-command.ts')).addCompareCommand(program),
  },
  {
    names: ['kill', 'start'],
    add: async (program) => (await import('./commands/kill-commands.ts')).addKillCommands(program),
  },
  {
    names: ['agent'],
    add: async (program) => (await import('./commands/agent-command.ts')).addAgentCommand(program),
  },
];

const program = new Command('lockstep')
  .description(
    'Replication for PostgreSQL: a leader, its followers, and failover that loses no synchronous commit.',
  )
  .version(readVersion(), '--version', 'print the version of Lockstep')
  .showHelpAfterError('Run "lockstep --help" for what there is.')
  .configureHelp({ showGlobalOptions: true });

const [wanted = ''] = process.argv.slice(2);
const group = GROUPS.find(({ names }) => names.includes(wanted));
for (const { add } of group === undefined ? GROUPS : [group]) await add(program);

function readVersion(): string {
  const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
}

try {
  await program.parseAsync();
} catch (error) {
  const { renderError } = await import('./screen/error-text.ts');
  process.stderr.write(`${renderError(error)}\n`);
  process.exitCode = 1;
}
