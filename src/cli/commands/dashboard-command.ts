import { randomBytes } from 'node:crypto';
import type { Command } from 'commander';
import { createClusterSource } from '../../admin/cluster-source.ts';
import { startAdminServer } from '../../admin/server.ts';
import type { AdminCommands } from '../../admin/source.ts';
import { agentUrl } from '../../leader-follower/config/config.ts';
import { LockstepError } from '../../model/errors.ts';
import { rescueActions } from '../rescue/rescue-actions.ts';
import { newsVerifierOf } from './agent-request.ts';
import { print, readConfig } from './plan-commands.ts';
import { handOver } from './switchover-command.ts';
import { choosePorts, parsePort } from '../dev/ports.ts';
import { CONFIG, STATE } from './cluster-place.ts';
import type { ClusterPlace } from './cluster-place.ts';

const PRESET_PORT = 7400;

/** `dashboard`: the page for a cluster that others run. It needs agents only, not `lockstep dev`. */
export function addDashboardCommand(program: Command): void {
  program
    .command('dashboard')
    .description('show any cluster in a browser of this machine, until Ctrl-C')
    .option('--port <port>', 'of the page (default 7400, else the next free one)', parsePort)
    .option(...STATE)
    .option(...CONFIG)
    .action((options: ClusterPlace & { port?: number }) => runDashboard(options));
}

async function runDashboard(options: ClusterPlace & { readonly port?: number }): Promise<void> {
  const config = await readConfig(options);
  const source = createClusterSource({
    agentUrls: config.nodes.map(agentUrl),
    verify: newsVerifierOf(config),
  });
  const [port = 0] = await choosePorts(options.port ?? PRESET_PORT, 1, {
    isExact: options.port !== undefined,
    flag: '--port',
  });
  const pageKey = randomBytes(12).toString('base64url');
  const server = await startAdminServer({
    host: '127.0.0.1',
    port,
    source: {
      topology: () => source.topology(),
      events: () => source.events(),
      subscribe: (listener) => source.subscribe(listener),
      commands: commandsOf(options),
      rescue: rescueActions(options),
      // Nobody has it: the page commands with its key.
      token: randomBytes(24).toString('base64url'),
      pageKey,
    },
  });
  print(`The dashboard of cluster ${config.name} is on ${server.url}/#key=${pageKey} until Ctrl-C.`);
  await new Promise<void>((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => resolve());
  });
  await server.close();
  source.close();
}

/** Agents can hand over; to end and start them is up to whoever runs them. */
function commandsOf(place: ClusterPlace): AdminCommands {
  const refuse = async (node: string): Promise<never> => {
    throw new LockstepError(
      'CONFIG_INVALID',
      `Do that on the machine of ${node}, with its service manager: this dashboard does not run the agents.`,
    );
  };
  return {
    kill: refuse,
    start: refuse,
    switchover: async (to) => handOver(await readConfig(place), to ?? null),
  };
}
