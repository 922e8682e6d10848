import type { NodeTopology, Topology } from '../../model/topology.ts';
import type { SignedEvent } from '../../news/event.ts';

/** The topology that an agent's event carries; null for other events, and for what is none. */
export function parseTopologyEvent({ event, data }: SignedEvent): Topology | null {
  if (event !== 'topology') return null;
  try {
    const value: unknown = JSON.parse(data);
    return isTopology(value) ? value : null;
  } catch {
    return null;
  }
}

function isTopology(value: unknown): value is Topology {
  if (typeof value !== 'object' || value === null) return false;
  const { term, version, nodes } = value as Partial<Topology>;
  return (
    typeof term === 'number' && typeof version === 'number' && Array.isArray(nodes) && nodes.every(isNode)
  );
}

function isNode(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false;
  const { name, host, port, agentUrl } = value as Partial<NodeTopology>;
  return [name, host, agentUrl].every((text) => typeof text === 'string') && typeof port === 'number';
}
