import type { Classification } from '../../classify/core/classify.ts';
import { isUsable, whyNoReads } from './route.ts';
import type { Route, RouteNode, RouteRequest, RouteRules, RouteTable, Target } from './route.ts';
import { isComparable } from '../../session/core/session.ts';
import type { Watermark } from '../../cluster/core/watermark.ts';
import type { NodeKey } from '../../../model/node.ts';

/** What one server is to a statement. */
export interface NodeVerdict {
  readonly name: string;
  readonly role: 'leader' | 'follower' | 'unknown';
  /** Whether the statement may go there as things stand. */
  readonly isEligible: boolean;
  /** Why not; for an eligible one, how far and how quick it is. */
  readonly why: string;
}

/** Where a statement would go now, and why. As a string it is a text for people. */
export class RouteExplanation {
  /** What the text is taken for: `read`, `leader-read`, `write`, `session`, `begin`, `commit` or `rollback`. */
  readonly kind: Classification['kind'];
  /** What in the text decided that. */
  readonly kindReason: string;
  /** The server's name; null when the statement would wait. Of several eligible ones, the one drawn this time. */
  readonly node: string | null;
  readonly role: 'leader' | 'follower' | null;
  /** Why there, or what it waits for. */
  readonly why: string;
  readonly nodes: readonly NodeVerdict[];

  constructor(facts: Omit<RouteExplanation, 'toString'>) {
    this.kind = facts.kind;
    this.kindReason = facts.kindReason;
    this.node = facts.node;
    this.role = facts.role;
    this.why = facts.why;
    this.nodes = facts.nodes;
  }

  toString(): string {
    const target = this.node === null ? 'It waits' : `It goes to ${this.role} ${this.node}`;
    const width = Math.max(0, ...this.nodes.map(({ name, role }) => name.length + role.length));
    const lines = this.nodes.map(({ name, role, isEligible, why }) => {
      const padding = ' '.repeat(width - name.length - role.length);
      return `  ${isEligible ? '+' : '-'} ${role} ${name}${padding}  ${why}`;
    });
    return [`${target}: ${this.why}.`, `The text is a ${this.kind} (${this.kindReason}).`, ...lines].join(
      '\n',
    );
  }
}

/** What routing went by. */
export interface RouteFacts {
  readonly classification: Classification;
  readonly request: RouteRequest;
  readonly route: Route;
  readonly table: RouteTable;
  readonly nodes: readonly RouteNode[];
  readonly rules: RouteRules;
  readonly blocked: ReadonlySet<NodeKey>;
  readonly nowMs: number;
  nameOf(key: NodeKey): string;
  watermarkOf(key: NodeKey): Watermark | null;
}

/** Tells of every server why it may or may not take the statement. */
export function explainRoute(facts: RouteFacts): RouteExplanation {
  const { classification, route, nodes } = facts;
  const isNode = route.kind === 'node';
  return new RouteExplanation({
    kind: classification.kind,
    kindReason: classification.reason,
    node: isNode ? facts.nameOf(route.node) : null,
    role: isNode ? route.role : null,
    why: route.reason,
    nodes: nodes.map((node) => ({
      name: facts.nameOf(node.key),
      role: node.role,
      ...judgeNode(facts, node),
    })),
  });
}

type Judgement = Pick<NodeVerdict, 'isEligible' | 'why'>;

function judgeNode(facts: RouteFacts, node: RouteNode): Judgement {
  const { request, route, table, rules, blocked, nowMs } = facts;
  const refused = (why: string): Judgement => ({ isEligible: false, why });
  if (node.role === 'leader') {
    if (route.kind === 'node' && route.node === node.key)
      return { isEligible: true, why: describeLoad(node) };
    return refused(request.access === 'any' ? 'reads come here when no follower may answer' : route.reason);
  }
  const refusal = whyNoReads(node, rules, blocked, nowMs);
  if (refusal !== null) return refused(refusal);
  if (request.access === 'leader') return refused('the statement must run on the leader');
  const { all, near } = request.isSession ? table.causal : table.plain;
  const isThis = (target: Target): boolean => target.node.key === node.key;
  const target = all.find(isThis);
  if (target === undefined) return refused('reports no position, so that its lag is unknown');
  if (!isUsable(request, target)) return refused(whyUnusable(request, node, nowMs));
  const isFar = !near.some(isThis) && near.some((other) => isUsable(request, other));
  if (isFar) return refused(`is in ${describeZone(node.zone)}, and ${describeZone(rules.zone)} is preferred`);
  const check = request.token === null ? '' : `, ${describeCheck(facts, node.key)}`;
  return {
    isEligible: true,
    why: `${describeLoad(node)}, ${node.lagBytes ?? 'unknown'} bytes behind${check}`,
  };
}

function whyUnusable(
  { excluded, token, completeAsOfMs }: RouteRequest,
  node: RouteNode,
  nowMs: number,
): string {
  if (excluded.has(node.key)) return 'failed this statement';
  if (token !== null && !isComparable(token, node.timeline))
    return `is not known to be on timeline ${token.timeline}, which the session has seen`;
  if (node.freshAsOfMs === null || node.freshAsOfMs < completeAsOfMs)
    return `may miss what was committed ${Math.round(nowMs - completeAsOfMs)} ms ago`;
  return 'is too far behind what the session has seen';
}

function describeCheck({ request, watermarkOf }: RouteFacts, key: NodeKey): string {
  const seen = watermarkOf(key);
  const isPast = seen !== null && request.token !== null && seen.lsn >= request.token.lsn;
  return isPast ? "was seen past the session's position" : 'a check of its position rides in front';
}

function describeLoad({ load }: RouteNode): string {
  const latency = load.latencyMs === 0 ? 'not measured yet' : `${load.latencyMs.toFixed(1)} ms a statement`;
  return `${load.outstanding} in flight, ${latency}`;
}

function describeZone(zone: string | null): string {
  return zone === null ? 'no zone' : `zone ${zone}`;
}
