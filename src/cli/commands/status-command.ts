import { join, resolve } from 'node:path';
import { readClusterConfig } from '../../leader-follower/config/config.ts';
import { nodeDsn } from '../dev/cluster-folder.ts';
import { fetchTopology } from './local-cluster.ts';
import { renderStatus } from '../screen/render.ts';

/** `lockstep status`: a table, or with `json` one document on standard output. */
export async function printStatus(options: {
  readonly state: string;
  readonly json: boolean;
}): Promise<void> {
  const config = await readClusterConfig(join(resolve(options.state), 'cluster.json'));
  const topology = await fetchTopology(config);
  if (options.json) {
    const {
      cluster,
      term,
      timeline,
      leader,
      isFailoverReady,
      failoverObstacle = null,
      maintenance = null,
      plannedSwitchover = null,
    } = topology;
    const nodes = topology.nodes.map((node) => ({
      ...node,
      dsn: node.kind === 'witness' ? null : nodeDsn(config, node),
    }));
    process.stdout.write(
      `${JSON.stringify({ cluster, topology: topology.topology, term, timeline, leader, isFailoverReady, failoverObstacle, maintenance, plannedSwitchover, nodes }, null, 2)}\n`,
    );
    return;
  }
  const color = process.stdout.isTTY && process.env['NO_COLOR'] === undefined;
  process.stdout.write(`${renderStatus(topology, { columns: process.stdout.columns ?? 120, color })}\n`);
}
