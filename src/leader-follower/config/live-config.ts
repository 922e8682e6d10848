import type { ClusterConfig, NodeConfig } from './config.ts';
import type { ClusterState } from '../core/cluster-state.ts';
import { neededLeavers, presentNodes } from '../members/core/node-list.ts';

/**
 * The configuration as it is at each moment: its `nodes` are those of the register that this agent saw last, or,
 * before it saw one, those of cluster.json; the same array until they change. Never spread it: that would keep the nodes of that moment.
 */
export function createLiveConfig(seed: ClusterConfig, state: () => ClusterState | null): ClusterConfig {
  let seen: ClusterState | null = null;
  let known = textOf(null);
  let nodes: readonly NodeConfig[] = presentNodes(seed.nodes, null);
  return {
    ...seed,
    get nodes() {
      const now = state();
      if (now === seen) return nodes;
      seen = now;
      // Each renewal brings a new state, which hardly ever has other nodes.
      const text = textOf(now);
      if (text !== known) nodes = presentNodes(seed.nodes, now);
      known = text;
      return nodes;
    },
  };
}

function textOf(state: ClusterState | null): string {
  return JSON.stringify([state?.votersEpoch ?? 0, state?.nodes ?? null, neededLeavers(state)]);
}
