import type { ClusterConfig, NodeConfig } from '../../leader-follower/config/config.ts';
import { parseNodeId } from '../../model/node.ts';
import type { NodeTopology, Topology } from '../../model/topology.ts';

/** Nodes of a local cluster that came or went. */
export interface NodeChanges {
  /** The nodes that there are now. */
  readonly config: ClusterConfig;
  /** For cluster.json: with all that founded the cluster, for agents with an empty folder begin by asking them. */
  readonly kept: ClusterConfig;
  readonly added: readonly NodeConfig[];
}

/** What the cluster's own list has that its cluster.json has not, and the other way round; null when nothing. */
export function findNodeChanges(config: ClusterConfig, topology: Topology): NodeChanges | null {
  const added = topology.nodes
    .filter((told) => config.nodes.every((node) => node.name !== told.name))
    .map(nodeOf);
  const removed = config.nodes.filter((node) => topology.nodes.every((told) => told.name !== node.name));
  const fixedPorts = config.fixedPorts || haveVotesChanged(config, topology);
  if (added.length === 0 && removed.length === 0 && fixedPorts === config.fixedPorts) return null;
  const without = (gone: readonly NodeConfig[]): ClusterConfig => ({
    ...config,
    fixedPorts,
    nodes: [...config.nodes.filter((node) => !gone.includes(node)), ...added],
  });
  return { config: without(removed), kept: without(removed.filter((node) => !node.voter)), added };
}

function haveVotesChanged(config: ClusterConfig, topology: Topology): boolean {
  return config.nodes.some((node) => {
    const told = topology.nodes.find(({ name }) => name === node.name);
    return told === undefined ? node.voter : told.voter !== undefined && told.voter !== node.voter;
  });
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
    // It did not found the cluster. Whether it votes, the cluster's list says.
    voter: false,
  };
}
