import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect } from 'vitest';
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
      const { timeline, nodes, isFailoverReady, failoverObstacle, isSwitchoverReady } =
        await cluster.status();
      const isAllElseThere = isFailoverReady || failoverObstacle?.includes(`${node} cannot vote`) === true;
      const areAllThere = nodes.every(({ state, timeline: own }) => state === 'running' && own === timeline);
      return isAllElseThere && areAllThere && isSwitchoverReady === true;
    },
    60_000,
  );
}

/** As a person does it: lets the node vote again, and waits until the cluster is whole. */
export async function giveVoteAnew(cluster: TestCluster, node: string): Promise<void> {
  await cluster.kill(node);
  await writeFile(join(cluster.folder, 'nodes', node, 'vote-anew'), '');
  await cluster.start(node);
  await cluster.untilWhole();
}

/** Writes rows while `victim`, whose vote the others must make up for, is killed. None that was acknowledged may be missing. */
export async function expectWritesToOutlive(cluster: TestCluster, victim: string): Promise<void> {
  const writer = new Writer(cluster);
  writer.start();
  await until('writes flow', () => writer.acknowledged.length > 20);
  await cluster.kill(victim);
  const before = writer.acknowledged.length;
  await until('writes flow without it', () => writer.acknowledged.length > before + 100);
  await writer.stop();
  expect(await missing(cluster, writer)).toEqual([]);
}
