import type { ConsistencyToken } from '../../../model/token.ts';
import { isComparable } from '../../session/core/session.ts';
import type { NodeKey } from '../../../model/node.ts';
import type { ViewedNode } from '../../cluster/core/leadership.ts';
import type { NodeLoad } from '../../cluster/traffic.ts';

/** A node as routing sees it. */
export interface RouteNode extends ViewedNode {
  readonly zone: string | null;
  /** Its share of reads in relation to others; 0 takes none. */
  readonly weight: number;
  readonly load: NodeLoad;
}

/** What every statement of a pool is held to. */
export interface RouteRules {
  readonly maxLagBytes: number;
  /** Longest time that a follower may be behind; infinite for no limit. */
  readonly maxLagMs: number;
  /** Followers here are preferred, the others serve when there is none. */
  readonly zone: string | null;
  /** Whether a follower that reports no position may answer reads outside of sessions. */
  readonly allowsUnknownLag: boolean;
}

export interface RouteRequest {
  /** `any`: a read that a follower may answer. */
  readonly access: 'any' | 'leader';
  /** Whether the read belongs to a session that has something to wait for, or must learn the position of what it saw. */
  readonly isSession: boolean;
  readonly token: ConsistencyToken | null;
  /** The follower that this session read from last: it surely shows what the session has seen there. */
  readonly preferred: NodeKey | null;
  /** Monotonic time as of which the answer must be complete; -Infinity for no limit. */
  readonly completeAsOfMs: number;
  /** Nodes that already failed this statement. */
  readonly excluded: ReadonlySet<NodeKey>;
}

export type Route =
  | {
      readonly kind: 'node';
      readonly node: NodeKey;
      readonly role: 'leader' | 'follower';
      readonly reason: string;
    }
  | { readonly kind: 'wait'; readonly reason: string };

/** A node, and the way there. */
export interface Target {
  readonly node: RouteNode;
  /** A token past it is too far off to be waited for here, or was made up. */
  readonly reach: bigint;
  readonly route: Route;
}

/** Followers that one kind of read may use. Those near are drawn from first. */
interface Candidates {
  readonly near: readonly Target[];
  readonly all: readonly Target[];
  /** Whether all have the same weight. */
  readonly isEven: boolean;
}

/**
 * What can be decided before a statement is known. It is made at each news about the cluster, so that a
 * statement costs two draws and a comparison.
 */
export interface RouteTable {
  readonly leader: Target | null;
  readonly leaderTimeline: number;
  /** For reads outside of sessions. */
  readonly plain: Candidates;
  /** For sessions: every follower that reports its position. */
  readonly causal: Candidates;
}

/** `blocked` nodes are left out; `nowMs` is the monotonic time by which lag in time is judged. */
export function createRouteTable(
  nodes: readonly RouteNode[],
  leaderTimeline: number,
  rules: RouteRules,
  blocked: ReadonlySet<NodeKey>,
  nowMs: number,
): RouteTable {
  const followers = nodes.filter((node) => whyNoReads(node, rules, blocked, nowMs) === null);
  const plain = followers.filter((node) => rules.allowsUnknownLag || isLagKnown(node));
  const leader = nodes.find((node) => node.role === 'leader');
  return {
    leader: leader === undefined ? null : createTarget(leader, 'must run on the leader', rules),
    leaderTimeline,
    plain: createCandidates(plain, rules),
    causal: createCandidates(followers.filter(isLagKnown), rules),
  };
}

/** Why a node serves no reads at all, whatever the statement; null when it does. */
export function whyNoReads(
  node: RouteNode,
  { maxLagBytes, maxLagMs }: RouteRules,
  blocked: ReadonlySet<NodeKey>,
  nowMs: number,
): string | null {
  if (!node.isUp) return 'is down';
  if (node.role !== 'follower') return 'neither leads nor follows the leader';
  if (node.weight === 0) return 'has weight 0';
  if (blocked.has(node.key)) return 'failed several times in a row, and is left out for a while';
  if (!isLagKnown(node)) return null;
  const lag = node.lagBytes ?? 0;
  if (lag > maxLagBytes) return `is ${lag} bytes behind, more than maxReadLagBytes ${maxLagBytes}`;
  const lagMs = nowMs - (node.freshAsOfMs ?? Number.NEGATIVE_INFINITY);
  return maxLagMs === Infinity || lagMs <= maxLagMs
    ? null
    : `may miss what was committed ${Math.round(lagMs)} ms ago, more than maxReadLagMs ${maxLagMs}`;
}

function isLagKnown({ lsn, lagBytes }: RouteNode): boolean {
  return lsn !== null && lagBytes !== null;
}

function createTarget(node: RouteNode, reason: string, { maxLagBytes }: RouteRules): Target {
  const role = node.role === 'leader' ? 'leader' : 'follower';
  const reach = (node.lsn ?? 0n) + BigInt(maxLagBytes);
  return { node, reach, route: { kind: 'node', node: node.key, role, reason } };
}

function createCandidates(nodes: readonly RouteNode[], rules: RouteRules): Candidates {
  const { zone } = rules;
  const reason = `read, ${nodes.length} eligible follower${nodes.length === 1 ? '' : 's'}`;
  const all = nodes.map((node) => createTarget(node, reason, rules));
  const near = zone === null ? all : all.filter(({ node }) => node.zone === zone);
  const isEven = nodes.every(({ weight }) => weight === nodes[0]?.weight);
  return { all, near: near.length === 0 ? all : near, isEven };
}

/**
 * Chooses the node for one statement. Reads go to the better of two randomly drawn eligible followers: the
 * one with the lower expected time (in flight × latency, or its silence), which balances nearly as well as asking all and
 * does not herd. Without an eligible follower they go to the leader. `draws` are random numbers
 * in [0, 1); `nowMs` is the monotonic time. Source: Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", 2001.
 */
export function decideRoute(
  request: RouteRequest,
  table: RouteTable,
  draws: readonly [number, number],
  nowMs: number,
): Route {
  if (request.access === 'leader') return routeToLeader(request, table, null);
  const candidates = request.isSession ? table.causal : table.plain;
  const { near, all } = candidates;
  const target =
    chooseOfTwo(request, usable(request, near), candidates.isEven, draws, nowMs) ??
    (near === all ? null : chooseOfTwo(request, usable(request, all), candidates.isEven, draws, nowMs));
  return target === null ? routeToLeader(request, table, 'read, no eligible follower') : target.route;
}

function routeToLeader(
  request: RouteRequest,
  { leader, leaderTimeline }: RouteTable,
  reason: string | null,
): Route {
  if (leader === null) return { kind: 'wait', reason: 'there is no leader' };
  const { key } = leader.node;
  if (request.excluded.has(key)) return { kind: 'wait', reason: `leader ${key} did not answer` };
  if (request.token !== null && request.token.timeline > leaderTimeline)
    return { kind: 'wait', reason: `the session has seen newer timeline ${request.token.timeline}` };
  return reason === null ? leader.route : { kind: 'node', node: key, role: 'leader', reason };
}

/** Usually all of them, and then nothing is copied. */
function usable(request: RouteRequest, targets: readonly Target[]): readonly Target[] {
  for (const target of targets) {
    if (!isUsable(request, target)) return targets.filter((other) => isUsable(request, other));
  }
  return targets;
}

/** Whether a follower may answer this very statement. */
export function isUsable(
  { excluded, token, completeAsOfMs }: RouteRequest,
  { node, reach }: Target,
): boolean {
  if (excluded.size > 0 && excluded.has(node.key)) return false;
  // A write of unknown position, past every reach, is shown by the leader alone.
  if (token !== null && (token.lsn > reach || !isComparable(token, node.timeline))) return false;
  return completeAsOfMs === -Infinity || (node.freshAsOfMs !== null && node.freshAsOfMs >= completeAsOfMs);
}

/** Measured times are never quite equal; what differs less is, so that equals share the load. */
const CLEARLY_BETTER = 0.75;

/** What another follower must be for a session to leave the one it reads from. */
const WORTH_LEAVING = 0.5;

function chooseOfTwo(
  { preferred }: RouteRequest,
  targets: readonly Target[],
  isEven: boolean,
  [first, second]: readonly [number, number],
  nowMs: number,
): Target | null {
  const { length } = targets;
  if (length <= 1) return targets[0] ?? null;
  const home = preferred === null ? -1 : targets.findIndex(({ node }) => node.key === preferred);
  const drawn = home >= 0 ? home : isEven ? Math.floor(first * length) : draw(targets, first, -1);
  const other = isEven
    ? (drawn + 1 + Math.floor(second * (length - 1))) % length
    : draw(targets, second, drawn);
  const one = targets[drawn];
  const two = targets[other];
  if (one === undefined || two === undefined) return one ?? two ?? null;
  const factor = home >= 0 ? WORTH_LEAVING : CLEARLY_BETTER;
  return expectedMs(two.node.load, nowMs) < expectedMs(one.node.load, nowMs) * factor ? two : one;
}

/** The index of one target, each with the probability of its weight, without the one at `excluded`. */
function draw(targets: readonly Target[], random: number, excluded: number): number {
  let total = 0;
  for (let index = 0; index < targets.length; index += 1)
    if (index !== excluded) total += targets[index]?.node.weight ?? 0;
  let left = random * total;
  let last = -1;
  for (let index = 0; index < targets.length; index += 1) {
    if (index === excluded) continue;
    last = index;
    left -= targets[index]?.node.weight ?? 0;
    if (left < 0) return index;
  }
  return last;
}

/** One statement, or two, may just take long; when so many have no answer, it is the node. */
const SILENT_AT = 3;

/** An unmeasured node counts as quick, so that it gets measured; a silent one as no quicker than it has been silent. */
function expectedMs(
  { outstanding, latencyMs, unanswered, unansweredSinceMs }: NodeLoad,
  nowMs: number,
): number {
  const usualMs = (outstanding + 1) * Math.max(latencyMs, 0.05);
  return unanswered < SILENT_AT ? usualMs : Math.max(usualMs, nowMs - unansweredSinceMs);
}
