import type { ClusterConfig, NodeConfig } from '../leader-follower/config.ts';
import { parseNodeId } from '../model/node.ts';
import type { NodeTopology, Topology } from '../model/topology.ts';

/** Nodes of a local cluster that came or went, and the configuration with them and without. */
export interface NodeChanges {
  readonly config: ClusterConfig;
  readonly added: readonly NodeConfig[];
  readonly removed: readonly NodeConfig[];
}

/** What the cluster's own list has that its cluster.json has not, and the other way round; null when nothing. */
export function findNodeChanges(config: ClusterConfig, topology: Topology): NodeChanges | null {
  const added = topology.nodes
    .filter((told) => told.voter === false && config.nodes.every((node) => node.name !== told.name))
    .map(nodeOf);
  const removed = config.nodes.filter(
    (node) => !node.voter && topology.nodes.every((told) => told.name !== node.name),
  );
  if (added.length === 0 && removed.length === 0) return null;
  const kept = config.nodes.filter((node) => !removed.includes(node));
  return { config: { ...config, nodes: [...kept, ...added] }, added, removed };
}

/** Its priority is in the cluster's list, and does not count here. */
function nodeOf({ name, host, port, agentUrl }: NodeTopology): NodeConfig {
  return {
    name: parseNodeId(name),
    host,
    port,
    agentPort: Number(new URL(agentUrl).port),
    failoverPriority: 1,
    witness: false,
    voter: false,
  };
}
