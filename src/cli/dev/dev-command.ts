import { InvalidArgumentError } from 'commander';
import type { Command } from 'commander';
import { STATE } from '../commands/cluster-place.ts';
import { parseDelay } from '../commands/parse-delay.ts';
import { runDevRegions } from '../regions/dev-regions.ts';
import { runDev } from './dev.ts';
import { parsePort } from './ports.ts';

/** `dev`: everything on this machine. */
export function addDevCommand(program: Command): void {
  program
    .command('dev')
    .description('run a cluster on this machine until Ctrl-C; its data stays')
    .option(...STATE)
    .option('--nodes <n>', 'how many nodes (default 3)', parseCount)
    .option('--witness', 'a node more that only votes, so that two with data suffice', false)
    .option(
      '--delayed <duration>',
      'a node more that stays so far behind, to undo mistakes from, e.g. 10min',
      parseDelay,
    )
    .option('--pg-port <port>', "PostgreSQL's first port (default 5441, else the next free ones)", parsePort)
    .option(
      '--dashboard-port <port>',
      "the dashboard's port (default 7400, else the next free one)",
      parsePort,
    )
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
