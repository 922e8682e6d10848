import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect } from 'vitest';
import { doAllFollow } from '../../src/model/whole-cluster.ts';
import type { TestCluster } from '../../src/testing/cluster.ts';
import { until } from './fixture.ts';
import { missing, Writer } from './numbered-writes.ts';

/**
 * Polls until all run on the leader's timeline, and only this node's vote may stand in the way of a failover. It does
 * not while that node itself leads: the others have theirs.
 */
export async function untilOnlyAVoteIsMissing(cluster: TestCluster, node: string): Promise<void> {
  await until(
    'all run, with all votes but one',
    async () => {
      const topology = await cluster.status();
      const { isFailoverReady, failoverObstacle, isSwitchoverReady } = topology;
      const isAllElseThere =
        isFailoverReady || failoverObstacle?.includes(`the vote of ${node} does not count`) === true;
      return isAllElseThere && doAllFollow(topology) && isSwitchoverReady === true;
    },
    60_000,
  );
}

/** As a person does it: takes the lost vote of a node with a new folder away and gives a new one, while all run. */
export async function giveNewVote(cluster: TestCluster, node: string): Promise<void> {
  // What the others say of it may be from before it lost its folder.
  const log = join(cluster.folder, 'nodes', node, 'agent.log');
  await until('it is copied', async () => (await readFile(log, 'utf8')).includes('"cloned"'), 60_000);
  await untilOnlyAVoteIsMissing(cluster, node);
  await cluster.revokeVote(node);
  await cluster.grantVote(node);
  await cluster.untilWhole();
}

/** Writes rows while `victim`, whose vote the others must make up for, is killed. None that was acknowledged may be missing. */
export async function expectWritesToOutlive(
  cluster: TestCluster,
  victim: string,
  firstRow = 1,
): Promise<void> {
  const writer = new Writer(cluster, 'on', firstRow);
  writer.start();
  await until('writes flow', () => writer.acknowledged.length > 20);
  await cluster.kill(victim);
  const before = writer.acknowledged.length;
  await until('writes flow without it', () => writer.acknowledged.length > before + 100);
  await writer.stop();
  expect(await missing(cluster, writer)).toEqual([]);
}
