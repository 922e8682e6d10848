import type { Topology } from './topology.ts';

/** Whether every node runs, and each that follows closely has come to the leader's timeline. */
export function doAllFollow({ nodes, timeline }: Pick<Topology, 'nodes' | 'timeline'>): boolean {
  return nodes.every(
    (node) =>
      node.state === 'running' &&
      (node.kind === 'witness' || node.kind === 'delayed' || node.timeline === timeline),
  );
}

/**
 * Whether a cluster is whole: somebody leads, all others follow, and either the leadership could be handed over now, or
 * (`failover`) the loss of any one node would be survived, which takes three that vote; with fewer the former counts.
 */
export function isWholeCluster(topology: Topology, readyFor: 'switchover' | 'failover'): boolean {
  if (topology.leader === null || !doAllFollow(topology)) return false;
  if (topology.nodes.length === 1) return true;
  const voters = topology.nodes.filter((node) => node.voter !== false);
  const isFailoverAsked = readyFor === 'failover' && voters.length >= 3;
  return topology.isFailoverReady || (!isFailoverAsked && topology.isSwitchoverReady === true);
}
