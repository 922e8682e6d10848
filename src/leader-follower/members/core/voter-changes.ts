import type { AgentVoterSet } from '../../../coordination/embedded/agent-voters.ts';
import { LockstepError } from '../../../model/errors.ts';
import type { NodeId } from '../../../model/node.ts';
import { voteDoesNotCount } from './vote-words.ts';
import { mayLead } from '../../core/candidate.ts';
import type { ClusterState, ListedNode } from '../../core/cluster-state.ts';
import { listedNode, presentNodes } from './node-list.ts';
import type { SeedNode } from './node-list.ts';

/** Votes that come and go while a cluster runs, one by one. Design and argument: docs/internals/nodes.md. */

/** More make every write slower, and no cluster safer. */
const MAX_VOTERS = 7;

/** The voters that a state names; null while those vote that founded the cluster. */
export function voterSetOf(state: ClusterState | null): AgentVoterSet | null {
  if (state?.votersEpoch === undefined) return null;
  const voters = (state.nodes ?? []).filter((node) => node.voter === true);
  return {
    epoch: state.votersEpoch,
    voters: voters.map(({ name, host, agentPort, acceptor }) => ({
      name,
      url: `http://${host.includes(':') ? `[${host}]` : host}:${agentPort}`,
      acceptor: acceptor ?? null,
    })),
  };
}

/** What is known of a node's vote when votes change. */
export interface VoteReport {
  readonly name: NodeId;
  /** Whether its agent answers now. */
  readonly isReachable: boolean;
  /** Identity of its file; null where others than the agents vote, undefined when it did not tell. */
  readonly acceptor: string | null | undefined;
  /** Why its vote does not count now; null when it does. */
  readonly obstacle: string | null;
  /** Whether it has data and follows; a witness never does. */
  readonly isFollowing: boolean;
}

/** The state in which a node votes that did not. Throws CONFIG_INVALID when it cannot, with nothing changed. */
export function grantVote(
  seed: readonly SeedNode[],
  state: ClusterState,
  name: string,
  reports: readonly VoteReport[],
): ClusterState {
  const node = find(seed, state, name);
  const report = reports.find((candidate) => candidate.name === node.name);
  if (node.voter && report?.obstacle != null) {
    refuse(
      name,
      `${name} has a vote already, and ${voteDoesNotCount(name, report.obstacle)}. Where it is lost for good, revoke it first ("lockstep node revoke-vote ${name}"), then grant it anew.`,
    );
  }
  if (node.voter) refuse(name, `${name} votes already.`);
  if (node.isLeaving === true) refuse(name, `${name} is being removed.`);
  if (presentNodes(seed, state).filter(({ voter }) => voter).length >= MAX_VOTERS) {
    refuse(name, `A cluster has ${MAX_VOTERS} voters at most. Revoke another's vote first.`);
  }
  if (report?.isReachable !== true) {
    return refuse(name, `The agent of ${name} does not answer. Start it, and try again.`);
  }
  if (!node.witness && !report.isFollowing) refuse(name, `${name} does not follow yet. Wait until it does.`);
  const acceptor = report.acceptor ?? null;
  return changed(seed, state, reports, name, (listed) => ({ ...listed, voter: true, acceptor }));
}

/** The state in which a node votes no more. Throws CONFIG_INVALID when its vote is needed, with nothing changed. */
export function revokeVote(
  seed: readonly SeedNode[],
  state: ClusterState,
  name: string,
  leader: NodeId,
  reports: readonly VoteReport[],
): ClusterState {
  const node = find(seed, state, name);
  if (!node.voter) refuse(name, `${name} does not vote.`);
  if (node.name === leader) {
    refuse(
      name,
      `${name} leads. Hand the leadership over first ("lockstep switchover"), then revoke its vote.`,
    );
  }
  const rest = presentNodes(seed, state).filter((other) => other.voter && other.name !== node.name);
  if (!rest.some(mayLead)) {
    refuse(name, `Of those that would vote without ${name}, none may lead. Give another node a vote first.`);
  }
  return changed(seed, state, reports, name, (listed) => ({ ...listedNode(listed), voter: false }));
}

/** All nodes are listed from the first change on: cluster.json says only how to begin. */
function changed(
  seed: readonly SeedNode[],
  state: ClusterState,
  reports: readonly VoteReport[],
  name: string,
  change: (node: ListedNode) => ListedNode,
): ClusterState {
  const nodes = presentNodes(seed, state).map((node) => {
    const acceptor = state.nodes?.find((listed) => listed.name === node.name)?.acceptor;
    const listed = { ...listedNode(node), voter: node.voter, ...(acceptor == null ? {} : { acceptor }) };
    return node.name === name ? change(listed) : listed;
  });
  checkMajority(nodes, name, reports);
  return { ...state, nodes, votersEpoch: (state.votersEpoch ?? 0) + 1 };
}

/**
 * The new voters must be able to agree, or nobody leads from this change on. And whoever answers must know of changes of
 * voters, for a voter of an older release would go on with the old ones.
 */
function checkMajority(nodes: readonly ListedNode[], name: string, reports: readonly VoteReport[]): void {
  const outdated = reports.find(({ isReachable, acceptor }) => isReachable && acceptor === undefined);
  if (outdated !== undefined) {
    refuse(name, `${outdated.name} runs an older release. Run one release on all nodes before votes change.`);
  }
  const voters = nodes.filter(({ voter }) => voter === true);
  const needed = Math.floor(voters.length / 2) + 1;
  const lacking = voters.flatMap((voter) => {
    const report = reports.find((candidate) => candidate.name === voter.name);
    if (report?.isReachable !== true) return [`${voter.name} does not answer`];
    const isNew = voter.name === name;
    return report.obstacle === null || isNew ? [] : [voteDoesNotCount(voter.name, report.obstacle)];
  });
  if (voters.length - lacking.length >= needed) return;
  refuse(
    name,
    `Of ${voters.length} voters ${needed} would have to agree, and ${lacking.join(', ')}. Mend that first; nothing was changed.`,
  );
}

function find(seed: readonly SeedNode[], state: ClusterState, name: string): SeedNode {
  const nodes = presentNodes(seed, state);
  const node = nodes.find((candidate) => candidate.name === name);
  if (node !== undefined) return node;
  return refuse(
    name,
    `There is no node "${name}"; there are ${nodes.map((other) => other.name).join(', ')}.`,
  );
}

function refuse(name: string, reason: string): never {
  throw new LockstepError('CONFIG_INVALID', reason, { details: { name } });
}
