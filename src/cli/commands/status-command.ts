import { join } from 'node:path';
import type { Command } from 'commander';
import type { NodeTopology } from '../../model/topology.ts';
import { isPresent } from '../../postgres/data-folder.ts';
import { readClusterConfig } from '../../leader-follower/config/config.ts';
import { nodeDsn } from '../dev/cluster-folder.ts';
import { fetchTopology } from './local-cluster.ts';
import { renderStatus } from '../screen/render.ts';
import { CONFIG, configPathOf, STATE, stateDirOf } from './cluster-place.ts';
import type { ClusterPlace } from './cluster-place.ts';

/** `status`: how the cluster is. */
export function addStatusCommand(program: Command): void {
  program
    .command('status')
    .description('who leads, who follows, and how far behind')
    .option(...STATE)
    .option(...CONFIG)
    .option('--json', 'print one JSON document', false)
    .option('--with-password', "with the app's password in each dsn of the document", false)
    .action((options: ClusterPlace & { json: boolean; withPassword: boolean }) => printStatus(options));
}

/**
 * `lockstep status`: a table, or with `json` one document on standard output. Each node's `dsn` in it works in psql as it is
 * where the cluster's folder has a password file; the password itself is in it only when asked for.
 */
async function printStatus(
  options: ClusterPlace & { readonly json: boolean; readonly withPassword: boolean },
): Promise<void> {
  const config = await readClusterConfig(configPathOf(options));
  const topology = await fetchTopology(config);
  if (options.json) {
    const {
      cluster,
      term,
      timeline,
      leader,
      isFailoverReady,
      failoverObstacle = null,
      isSwitchoverReady = null,
      maintenance = null,
      plannedSwitchover = null,
      syncPolicy = null,
    } = topology;
    const passFile = join(stateDirOf(options), 'pgpass');
    const hasPassFile = await isPresent(passFile);
    const dsnOf = (node: NodeTopology): string =>
      options.withPassword ? nodeDsn(config, node) : nodeDsn(config, node, hasPassFile ? passFile : null);
    const nodes = topology.nodes.map((node) => ({
      ...node,
      dsn: node.kind === 'witness' ? null : dsnOf(node),
    }));
    process.stdout.write(
      `${JSON.stringify({ cluster, topology: topology.topology, term, timeline, leader, isFailoverReady, failoverObstacle, isSwitchoverReady, maintenance, plannedSwitchover, syncPolicy, nodes }, null, 2)}\n`,
    );
    return;
  }
  const color = process.stdout.isTTY && process.env['NO_COLOR'] === undefined;
  process.stdout.write(`${renderStatus(topology, { columns: process.stdout.columns ?? 120, color })}\n`);
}
