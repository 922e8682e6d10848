import { AgentSeal, OPERATOR } from '../coordination/agent-seal.ts';
import type { NodeId } from '../model/node.ts';

/** One side of the proof, both ways, that regions and people know the regions' token, without sending it. */
export function createRegionSeal(options: {
  /** The region whose process it is; null of people. */
  readonly region: string | null;
  readonly regions: readonly string[];
  readonly token: string;
}): AgentSeal {
  const { region, regions, token } = options;
  return new AgentSeal({
    self: region === null ? OPERATOR : (region as NodeId),
    nodes: regions as readonly NodeId[],
    cluster: 'lockstep-regions',
    secrets: { agent: token, superuser: token },
  });
}
