import type { TestCluster } from '../../src/testing/cluster.ts';
import { until } from './fixture.ts';

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
