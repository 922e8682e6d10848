import type { Command } from 'commander';
import { findNode } from '../../leader-follower/config/config.ts';
import { readLeaderlessConfig } from '../leaderless/folder.ts';
import { CONFIG, STATE, stateDirOf } from './cluster-place.ts';
import type { ClusterPlace } from './cluster-place.ts';
import { findLocalCluster } from './local-cluster.ts';

/** `kill` and `start`: one node of a cluster that `dev` runs. */
export function addKillCommands(program: Command): void {
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
}

async function isIndependent(stateDir: string, node: string): Promise<boolean> {
  const config = await readLeaderlessConfig(stateDir);
  return config?.nodes.some(({ name }) => name === node) === true;
}
