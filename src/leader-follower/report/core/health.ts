import type { Topology } from '../../../model/topology.ts';
import { voteDoesNotCount } from '../../members/core/vote-words.ts';
import { LOW_BYTES } from '../../local/core/room-alarm.ts';
import { SILENT_FOLLOWER_MS } from '../../patience.ts';
import type { NodeStatus } from '../status.ts';

/** What a load balancer or a monitor asks an agent. */
export interface Health {
  readonly ok: boolean;
  readonly node: string;
  readonly role: NodeStatus['role'] | 'witness';
  readonly state: NodeStatus['state'];
  /** Why it is not, for people; empty when it is. */
  readonly problems: readonly string[];
}

/** Whether this node does all that it is there for, as far as its agent knows. */
export function judgeHealth(status: NodeStatus, topology: Topology): Health {
  const isWitness = ownNode(status, topology)?.kind === 'witness';
  const problems = [...(isWitness ? [] : serverProblems(status, topology)), ...memberProblems(status)];
  if (topology.leader === null) problems.push('nobody leads this cluster');
  return {
    ok: problems.length === 0,
    node: status.node,
    role: isWitness ? 'witness' : status.role,
    state: status.state,
    problems,
  };
}

function serverProblems(status: NodeStatus, topology: Topology): string[] {
  const { role, state, detail } = status;
  if (state !== 'running') return [`PostgreSQL is ${state}${detail === null ? '' : ` (${detail})`}`];
  if (role === 'unknown')
    return [`PostgreSQL does not answer, or has no right to lead${detail === null ? '' : ` (${detail})`}`];
  if (role === 'leader' || topology.leader === null) return [];
  const obstacle = receivingObstacle(status, topology);
  return obstacle === null ? [] : [obstacle];
}

/** Why a follower does not get the leader's log; null where it does, or nobody leads. A leader has to have more: one that hangs is silent, too. */
export function receivingObstacle(status: NodeStatus, topology: Topology): string | null {
  const { leader } = topology;
  if (leader === null) return null;
  if (!status.isReceiving) return `it does not stream from ${leader}`;
  const isBehind = (ownNode(status, topology)?.unreceivedBytes ?? 0) > 0;
  const silentForMs = status.silentForMs ?? 0;
  if (!isBehind || silentForMs < SILENT_FOLLOWER_MS) return null;
  return `it has received nothing for ${Math.floor(silentForMs / 1_000)} s, and ${leader} has more`;
}

function memberProblems({ node, voteObstacle, measures }: NodeStatus): string[] {
  const problems: string[] = [];
  if (voteObstacle != null) problems.push(voteDoesNotCount(node, voteObstacle));
  const freeBytes = measures?.freeBytes ?? null;
  if (freeBytes !== null && freeBytes < LOW_BYTES) {
    problems.push(`its disk is nearly full: ${Math.floor(freeBytes / 1_048_576)} MB free`);
  }
  return problems;
}

/** Whether writes belong here now: it leads, with the right to, and is supported. Null when they do, else why not. */
export function primaryObstacle(status: NodeStatus, topology: Topology): string | null {
  if (status.role === 'leader' && status.state === 'running') return null;
  return topology.leader === null ? 'nobody leads' : `${topology.leader} leads`;
}

/** How far behind a follower may be; null where it does not matter. */
export interface LagLimit {
  readonly bytes: number | null;
  readonly ms: number | null;
}

/** Whether reads belong here: a follower that streams and is within the limit. Null when they do, else why not. */
export function replicaObstacle(status: NodeStatus, topology: Topology, limit: LagLimit): string | null {
  if (status.role !== 'follower' || status.state !== 'running') {
    return status.role === 'leader' ? 'it leads' : `PostgreSQL is ${status.state}`;
  }
  const obstacle = receivingObstacle(status, topology);
  if (obstacle !== null) return obstacle;
  const node = ownNode(status, topology);
  return (
    exceeds('bytes', node?.lagBytes ?? null, limit.bytes) ?? exceeds('ms', node?.lagMs ?? null, limit.ms)
  );
}

function exceeds(unit: string, behind: number | null, limit: number | null): string | null {
  if (limit === null || (behind !== null && behind <= limit)) return null;
  return behind === null ? 'its lag is not known' : `it is ${behind} ${unit} behind`;
}

const UNITS: Readonly<Record<string, { readonly of: keyof LagLimit; readonly factor: number }>> = {
  '': { of: 'bytes', factor: 1 },
  B: { of: 'bytes', factor: 1 },
  kB: { of: 'bytes', factor: 1_024 },
  MB: { of: 'bytes', factor: 1_024 ** 2 },
  GB: { of: 'bytes', factor: 1_024 ** 3 },
  ms: { of: 'ms', factor: 1 },
  s: { of: 'ms', factor: 1_000 },
};

/** Reads `10MB` (PostgreSQL's units; without one, bytes), `500ms` or `2s`. Null for anything else. */
export function parseLagLimit(text: string | undefined): LagLimit | null {
  if (text === undefined) return { bytes: null, ms: null };
  const [, digits = '', name = ''] = /^(\d{1,15})\s?([A-Za-z]*)$/.exec(text) ?? [];
  const unit = digits === '' || !Object.hasOwn(UNITS, name) ? undefined : UNITS[name];
  if (unit === undefined) return null;
  return { bytes: null, ms: null, [unit.of]: Number(digits) * unit.factor };
}

function ownNode(status: NodeStatus, topology: Topology): Topology['nodes'][number] | undefined {
  return topology.nodes.find(({ name }) => name === status.node);
}
