import type { ConsistencyToken } from '../../model/token.ts';
import { isComparable } from './session.ts';
import type { NodeKey, ViewedNode } from './topology.ts';

/** A node as routing sees it: its role and position, and how busy and how quick it is from here. */
export interface RouteNode extends ViewedNode {
  /** Statements in flight from this pool. */
  readonly outstanding: number;
  /** Moving average of a statement's time; 0 while nothing was measured. */
  readonly latencyMs: number;
}

export interface RouteRequest {
  /** `any`: a read that a follower may answer. */
  readonly access: 'any' | 'leader';
  readonly token: ConsistencyToken | null;
  readonly maxLagBytes: number;
  /** Nodes that already failed this statement. */
  readonly excluded: ReadonlySet<NodeKey>;
  /** Timeline of the current leader. */
  readonly leaderTimeline: number;
}

export type Route =
  | {
      readonly kind: 'node';
      readonly node: NodeKey;
      readonly role: 'leader' | 'follower';
      readonly reason: string;
    }
  | { readonly kind: 'wait'; readonly reason: string };

/**
 * Chooses the node for one statement. Reads go to the better of two randomly drawn eligible followers: the
 * one with the lower expected time (in flight × latency), which balances nearly as well as asking all and
 * does not herd. Without an eligible follower they go to the leader. `random` are two numbers in [0, 1).
 * Source: Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", 2001.
 */
export function decideRoute(
  request: RouteRequest,
  nodes: readonly RouteNode[],
  random: readonly [number, number],
): Route {
  let whyLeader = 'must run on the leader';
  if (request.access === 'any') {
    const eligible = nodes.filter((node) => isEligible(request, node));
    const follower = chooseOfTwo(eligible, random);
    if (follower !== null) {
      const reason = `read, ${eligible.length} eligible follower${eligible.length === 1 ? '' : 's'}`;
      return { kind: 'node', node: follower.key, role: 'follower', reason };
    }
    whyLeader = 'read, no eligible follower';
  }
  return routeToLeader(request, nodes, whyLeader);
}

function routeToLeader(request: RouteRequest, nodes: readonly RouteNode[], reason: string): Route {
  const leader = nodes.find((node) => node.role === 'leader');
  if (leader === undefined) return { kind: 'wait', reason: 'there is no leader' };
  if (request.excluded.has(leader.key))
    return { kind: 'wait', reason: `leader ${leader.key} did not answer` };
  if (request.token !== null && request.token.timeline > request.leaderTimeline) {
    return { kind: 'wait', reason: `the session has seen newer timeline ${request.token.timeline}` };
  }
  return { kind: 'node', node: leader.key, role: 'leader', reason };
}

function isEligible(request: RouteRequest, node: RouteNode): boolean {
  if (node.role !== 'follower' || !node.isUp || request.excluded.has(node.key)) return false;
  if (node.lsn === null || node.lagBytes === null || node.lagBytes > request.maxLagBytes) return false;
  return request.token === null || isComparable(request.token, node.timeline);
}

function chooseOfTwo(nodes: readonly RouteNode[], random: readonly [number, number]): RouteNode | null {
  if (nodes.length === 0) return null;
  const firstIndex = Math.floor(random[0] * nodes.length);
  const first = nodes[firstIndex];
  if (nodes.length === 1 || first === undefined) return nodes[0] ?? null;
  const others = nodes.filter((_, index) => index !== firstIndex);
  const second = others[Math.floor(random[1] * others.length)] ?? first;
  return expectedMs(second) < expectedMs(first) ? second : first;
}

/** An unmeasured node counts as quick, so that it gets measured. */
function expectedMs(node: RouteNode): number {
  return (node.outstanding + 1) * Math.max(node.latencyMs, 0.05);
}
