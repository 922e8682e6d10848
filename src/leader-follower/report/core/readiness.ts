import type { NodeRole } from '../../../model/topology.ts';
import { electionQuorum } from '../../core/cluster-state.ts';
import type { ClusterState } from '../../core/cluster-state.ts';
import { voteDoesNotCount } from '../../members/core/vote-words.ts';

/** What an election would find of a node. */
export interface Voter {
  readonly name: string;
  readonly isReachable: boolean;
  readonly role: NodeRole;
  readonly timeline: number | null;
  /** It takes part in the agents' votes at all. */
  readonly voter: boolean;
  /** Why its vote does not count now; null when it votes, or where others than the agents vote. */
  readonly voteObstacle: string | null;
}

/**
 * Why enough of the sync set would not be heard in an election that the present leader takes no part in: some
 * acknowledged commit might be on none of them. Null when they would. Of `silent`, the leader hears no acknowledgement: one that
 * hangs would not give its position either.
 */
export function successionObstacle(
  state: ClusterState,
  nodes: readonly Voter[],
  silent: readonly string[],
): string | null {
  const members = state.sync.members as readonly string[];
  if (state.sync.isDegraded === true && members.length === 0)
    return 'no follower confirms, and by the policy commits do not wait, so that only the leader has them all';
  if (members.length === 0) return 'no synchronous follower has caught up yet';
  const isHeard = (node: Voter): boolean =>
    node.name !== state.leadership.holder &&
    members.includes(node.name) &&
    node.isReachable &&
    node.role === 'follower' &&
    node.timeline === state.leadership.timeline &&
    !silent.includes(node.name);
  const heard = nodes.filter(isHeard).map(({ name }) => name);
  const needed = electionQuorum(state.sync);
  if (heard.length >= needed) return null;
  if (members.includes(state.leadership.holder)) {
    return `no follower has passed the promotion of ${state.leadership.holder} yet`;
  }
  const missing = members.filter((name) => !heard.includes(name));
  const hangs = (name: string): boolean =>
    silent.includes(name) && nodes.some((node) => node.name === name && node.isReachable);
  const parts = [
    { what: 'missing', names: missing.filter((name) => !hangs(name)) },
    { what: `${state.leadership.holder} gets no acknowledgement from`, names: missing.filter(hangs) },
  ];
  const reasons = parts.flatMap(({ what, names }) =>
    names.length === 0 ? [] : [`${what} ${names.join(', ')}`],
  );
  return `${heard.length} of the ${needed} synchronous followers needed follow now; ${reasons.join('; ')}`;
}

/**
 * Why a failover would not succeed now, should the leader's machine be lost; null when it would. Besides the sync
 * set, where the agents vote among themselves (`areAgentsVoters`), a majority of the voters must be able to without it.
 */
export function failoverObstacle(
  state: ClusterState,
  nodes: readonly Voter[],
  areAgentsVoters: boolean,
  silent: readonly string[],
): string | null {
  const succession = successionObstacle(state, nodes, silent);
  if (succession !== null || !areAgentsVoters) return succession;
  const voters = nodes.filter((node) => node.voter);
  const others = voters.filter((node) => node.name !== state.leadership.holder);
  const lacking = others.flatMap((node) => {
    if (!node.isReachable) return [`${node.name} does not answer`];
    return node.voteObstacle === null ? [] : [voteDoesNotCount(node.name, node.voteObstacle)];
  });
  const needed = Math.floor(voters.length / 2) + 1;
  const votes = others.length - lacking.length;
  if (votes >= needed) return null;
  const reason = lacking.length === 0 ? 'one of two is no majority' : lacking.join(', ');
  return `${votes} of the ${needed} votes that an election needs: ${reason}`;
}
