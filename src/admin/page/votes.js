/** @typedef {import('../../model/topology.ts').Topology} Topology */
/** @typedef {import('../../model/topology.ts').NodeTopology} NodeTopology */

/**
 * Who votes on who leads, and how many of those answer. Agents older than votes that change all vote.
 * @param {Topology} topology
 * @returns {{ voters: readonly NodeTopology[], answering: readonly NodeTopology[], needed: number }}
 */
export function countVotes(topology) {
  const voters = topology.nodes.filter(votes);
  return {
    voters,
    answering: voters.filter((node) => node.state !== 'unreachable'),
    needed: Math.floor(voters.length / 2) + 1,
  };
}

/** @param {NodeTopology} node */
export function votes(node) {
  return node.voter !== false;
}

/**
 * What goes on while nobody leads.
 * @param {Topology} topology
 * @returns {'none' | 'no-majority' | 'no-candidate' | 'election'} none: somebody leads
 */
export function electionState(topology) {
  if (topology.leader !== null) return 'none';
  const { answering, needed } = countVotes(topology);
  if (answering.length < needed) return 'no-majority';
  return topology.nodes.some(isCandidate) ? 'election' : 'no-candidate';
}

/**
 * Whether a node may come to lead, as far as its kind and state tell.
 * @param {NodeTopology} node
 */
export function isCandidate(node) {
  return node.state === 'running' && node.kind !== 'delayed' && node.kind !== 'witness';
}
