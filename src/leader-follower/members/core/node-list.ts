import { LockstepError } from '../../../model/errors.ts';
import type { NodeId } from '../../../model/node.ts';
import { countedOthers } from '../../core/sync-policy.ts';
import { upstreamProblem } from '../../core/upstream.ts';
import type { ClusterState, ListedNode, SyncPolicy } from '../../core/cluster-state.ts';

/**
 * The nodes of a cluster. Those that vote stand in cluster.json until a vote is given or taken away; from then on all
 * nodes are listed in the cluster's register. Those that do not vote are listed there anyway, so that they come and go
 * while it runs: no quorum has one of them in it. Design and argument: docs/internals/nodes.md.
 */

/** A node as cluster.json has it. */
export interface SeedNode extends ListedNode {
  readonly witness: boolean;
  readonly voter: boolean;
}

/** PostgreSQL's processes for replication are limited (`max_wal_senders`), and a copy takes one too. */
const MAX_DATA_NODES = 13;
const REMEMBERED_NAMES = 500;

/**
 * All nodes: the seed's voters, and the register's others, once somebody changed them; all of the register's once voters
 * have changed. One that leaves leads no more, unless it leads or commits rest on it: as long as it may be the only one that has
 * one, it is the one that can save it.
 */
export function presentNodes(seed: readonly SeedNode[], state: ClusterState | null): readonly SeedNode[] {
  const needed = neededLeavers(state);
  const founders = state?.votersEpoch === undefined ? seed.filter((node) => node.voter) : [];
  const others = listedNodes(seed, state).filter(({ name }) =>
    founders.every((voter) => voter.name !== name),
  );
  return [
    ...founders,
    ...others.map((node) => ({
      ...listedNode(node),
      failoverPriority: node.isLeaving === true && !needed.includes(node.name) ? 0 : node.failoverPriority,
      witness: node.witness === true,
      voter: state?.votersEpoch !== undefined && node.voter === true,
    })),
  ];
}

/** Those that are to leave and cannot be done without yet. */
export function neededLeavers(state: ClusterState | null): readonly NodeId[] {
  if (state === null) return [];
  const { nodes = [], sync, leadership } = state;
  return nodes
    .filter(({ name, isLeaving }) => {
      const isNeeded = leadership.holder === name || sync.members.includes(name);
      return isLeaving === true && isNeeded;
    })
    .map(({ name }) => name);
}

function listedNodes(seed: readonly SeedNode[], state: ClusterState | null): readonly ListedNode[] {
  return state?.nodes ?? seed.filter((node) => !node.voter).map(listedNode);
}

/** What the register keeps of a node, but for its vote. */
export function listedNode(node: ListedNode): ListedNode {
  const { name, host, port, agentPort, failoverPriority, witness, delay, from } = node;
  return {
    name,
    host,
    port,
    agentPort,
    failoverPriority,
    ...(witness === true ? { witness } : {}),
    ...(delay === undefined ? {} : { delay }),
    ...(from === undefined ? {} : { from }),
    ...(node.isLeaving === true ? { isLeaving: true } : {}),
  };
}

/** Why a node cannot listen where it is to be, beside `others`; null when it can. */
export function portProblem(others: readonly Place[], { name, host, port, agentPort }: Place): string | null {
  if (port === agentPort)
    return `PostgreSQL and the agent of ${name} cannot share port ${port}. Give them two.`;
  for (const other of others) {
    const taken = [other.port, other.agentPort].find(
      (used) => other.host === host && (used === port || used === agentPort),
    );
    if (taken !== undefined) return `${host}:${taken} belongs to ${other.name}. Choose another port.`;
  }
  return null;
}

type Place = Pick<ListedNode, 'name' | 'host' | 'port' | 'agentPort'>;

/** The state with one node more. Throws CONFIG_INVALID when it does not fit, with nothing changed. */
export function addNode(seed: readonly SeedNode[], state: ClusterState, added: ListedNode): ClusterState {
  const nodes = presentNodes(seed, state);
  const { name, host } = added;
  const refuse = (reason: string): never => {
    throw new LockstepError('CONFIG_INVALID', reason, { details: { name } });
  };
  const same = nodes.find((node) => node.name === name);
  if (same !== undefined) {
    refuse(
      same.isLeaving === true
        ? `${name} is being removed, and its name is never given again. Choose another one.`
        : `${name} is a node already, at ${same.host}. Choose another name.`,
    );
  }
  if (state.removedNodes?.includes(name) === true) {
    refuse(
      `${name} was a node of this cluster before and was removed: its machine may come back under that name. Choose another one.`,
    );
  }
  const clash = portProblem(nodes, added);
  if (clash !== null) refuse(clash);
  if (isLoopback(host) && !nodes.every((node) => isLoopback(node.host))) {
    refuse(`${host} is each machine's own address. Name the one at which the others reach ${name}.`);
  }
  if (nodes.filter((node) => !node.witness).length >= MAX_DATA_NODES) {
    refuse(`A cluster has a leader and ${MAX_DATA_NODES - 1} followers at most. Remove one first.`);
  }
  const obstacle = upstreamProblem(added, [...nodes, added]);
  if (obstacle !== null) refuse(`${obstacle}. Nothing was changed.`);
  const listed = added.delay === undefined ? added : { ...added, failoverPriority: 0 };
  const { policy } = state;
  return {
    ...state,
    nodes: [...listedNodes(seed, state), listed],
    ...(policy === undefined ? {} : { policy: { ...policy, joining: [...(policy.joining ?? []), name] } }),
  };
}

/** The state in which a node is to be removed. Throws CONFIG_INVALID where it must stay, with nothing changed. */
export function leaveNode(
  seed: readonly SeedNode[],
  state: ClusterState,
  name: string,
  leader: NodeId,
): ClusterState {
  const node = checkRemoval(seed, state, name, leader);
  if (node.voter) {
    throw new LockstepError(
      'CONFIG_INVALID',
      `${name} votes. Revoke its vote first ("lockstep node revoke-vote ${name}"), then remove it.`,
    );
  }
  return {
    ...state,
    nodes: listedNodes(seed, state).map((listed) =>
      listed.name === node.name ? { ...listed, isLeaving: true } : listed,
    ),
  };
}

/** The node, which may be removed once it does not vote. Throws CONFIG_INVALID where it must stay. */
export function checkRemoval(
  seed: readonly SeedNode[],
  state: ClusterState,
  name: string,
  leader: NodeId,
): SeedNode {
  const nodes = presentNodes(seed, state);
  const node = nodes.find((candidate) => candidate.name === name);
  if (node === undefined) {
    const wasRemoved = (state.removedNodes as readonly string[] | undefined)?.includes(name) === true;
    throw new LockstepError(
      'CONFIG_INVALID',
      wasRemoved
        ? `${name} has been removed already.`
        : `There is no node "${name}"; there are ${nodes.map((candidate) => candidate.name).join(', ')}.`,
      { details: { name } },
    );
  }
  if (node.name === leader) {
    throw new LockstepError(
      'CONFIG_INVALID',
      `${name} leads. Hand the leadership over first ("lockstep switchover"), then remove it.`,
    );
  }
  checkThatEnoughStay(nodes, state, node.name, leader);
  return node;
}

/** With none left, commits wait for nobody, as in any cluster of one; with too few they would wait for ever. */
function checkThatEnoughStay(
  nodes: readonly SeedNode[],
  state: ClusterState,
  name: NodeId,
  leader: NodeId,
): void {
  const { policy, sync } = state;
  const rest = nodes.filter((node) => node.name !== name);
  if (countedOthers(rest, leader, undefined).length === 0) return;
  const staying = countedOthers(rest, leader, policy);
  // Where commits wait for all, they wait for those that are left.
  const required = policy === undefined ? sync.required : policy.followers === 'all' ? 1 : policy.followers;
  if (staying.length >= required) return;
  const count = `Synchronous commits wait for ${required} ${required === 1 ? 'follower' : 'followers'}, and without ${name} there would be ${staying.length}`;
  throw new LockstepError(
    'CONFIG_INVALID',
    `${count}. Add another node first${policy === undefined ? '' : ', or set another policy ("lockstep policy set")'}.`,
  );
}

/** Those that left: nobody counts on what they have, neither in an election nor for a commit. */
export function nodesThatLeft(
  state: ClusterState,
  leader: NodeId,
  standbyNames: readonly NodeId[],
): readonly NodeId[] {
  return (state.nodes ?? [])
    .filter(({ isLeaving }) => isLeaving === true)
    .map(({ name }) => name)
    .filter((name) => name !== leader && !state.sync.members.includes(name) && !standbyNames.includes(name));
}

/** The state without nodes that left; their names are never given again. */
export function withoutNodes(state: ClusterState, names: readonly NodeId[]): ClusterState {
  const removed = (state.nodes ?? []).map(({ name }) => name).filter((name) => names.includes(name));
  return {
    ...state,
    nodes: (state.nodes ?? []).filter(({ name }) => !removed.includes(name)),
    removedNodes: [...(state.removedNodes ?? []), ...removed].slice(-REMEMBERED_NAMES),
    ...(state.policy === undefined ? {} : { policy: withoutJoining(state.policy, removed) }),
  };
}

/** The policy once nodes are no longer to come: they are here, or were removed. */
export function withoutJoining(policy: SyncPolicy, names: readonly NodeId[]): SyncPolicy {
  return { ...policy, joining: (policy.joining ?? []).filter((name) => !names.includes(name)) };
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || host.startsWith('127.');
}
