import type { Clock } from '../../model/clock.ts';
import { codeOf } from '../../model/errors.ts';
import { isTransient } from '../cluster/core/transient.ts';
import { admitTrial, CLOSED_BREAKER, isBlocked, isOpen, recordFailure } from './core/breaker.ts';
import type { Breaker } from './core/breaker.ts';
import type { Classification } from '../classify/core/classify.ts';
import { explainRoute } from './core/explain.ts';
import type { RouteExplanation } from './core/explain.ts';
import { createRouteTable, decideRoute } from './core/route.ts';
import type { Route, RouteNode, RouteRequest, RouteRules, RouteTable } from './core/route.ts';
import type { ConsistencyToken } from '../../model/token.ts';
import type { NodeKey } from '../../model/node.ts';
import { toError } from '../../wire/hook-errors.ts';
import { connectTimeout, isAppsOwn, nobodyReached, noLeader, poolSaturated } from '../app/failures.ts';
import type { Lease } from '../../wire/contract.ts';
import type { LeaseSource } from '../cluster/lease-source.ts';
import type { ClientLimits } from '../app/options.ts';
import { isInDoubt, settleSession } from '../session/settle-session.ts';
import type { SessionState } from '../session/session-state.ts';
import type { TopologyMonitor } from '../cluster/topology-monitor.ts';
import type { Traffic } from '../cluster/traffic.ts';

export type NodeRoute = Extract<Route, { kind: 'node' }>;

/** What choosing a node goes by. */
export interface RouteProgress {
  readonly session: SessionState | null;
  readonly deadlineMs: number;
  /** Whether the deadline is one that the app has set for connecting. */
  readonly isAppsLimit?: boolean;
  /** Nodes that failed it. */
  excluded: ReadonlySet<NodeKey>;
  access: 'any' | 'leader';
  /** How old a follower's data may be when the statement is sent; null for no limit. */
  readonly maxStalenessMs?: number | null;
  lastError: Error | null;
}

/** What {@link NodeFinder} works with. */
export interface FinderParts {
  readonly monitor: TopologyMonitor;
  readonly traffic: Traffic;
  readonly limits: ClientLimits;
  readonly rules: RouteRules;
  /** Numbers in [0, 1). */
  readonly random: () => number;
  readonly clock: Clock;
}

/** How long servers are tried of which none has ever answered: a failover leaves some that do. */
const UNREACHED_PATIENCE_MS = 1000;

/** Most statements meet no failure, and share this. */
export const NONE_EXCLUDED: ReadonlySet<NodeKey> = new Set();

/** This statement goes to the node no more. */
export function exclude(progress: Pick<RouteProgress, 'excluded'>, node: NodeKey): void {
  progress.excluded = new Set([...progress.excluded, node]);
}

const IN_DOUBT: Route = { kind: 'wait', reason: 'a failover may have cost the session a write' };

/** Finds the node for a statement, waiting for one where the cluster has none just now. */
export class NodeFinder {
  readonly parts: FinderParts;
  /** Only nodes that failed lately. */
  readonly #breakers = new Map<NodeKey, Breaker>();
  #table: RouteTable | null = null;
  #tableVersion = -1;
  #waiting = 0;
  /** Shared by all who wait, so that they go on in the order in which they came. */
  #news: Promise<void> | null = null;

  constructor(parts: FinderParts) {
    this.parts = parts;
  }

  /**
   * Waits until some node may take the statement. Throws NO_LEADER when none did in time, and POOL_SATURATED
   * when too many wait already.
   */
  async awaitRoute(progress: RouteProgress): Promise<NodeRoute> {
    const { monitor, limits } = this.parts;
    if (monitor.leadership.leader === null) void monitor.start();
    if (progress.session !== null) await settleSession(progress.session, monitor);
    const route = this.routeNow(progress);
    if (route.kind === 'node') return route;
    if (this.#waiting >= limits.maxWaiting) throw poolSaturated(this.#waiting, 'a leader');
    this.#waiting += 1;
    try {
      return await this.#awaitNews(progress, route.reason);
    } finally {
      this.#waiting -= 1;
    }
  }

  async #awaitNews(progress: RouteProgress, firstReason: string): Promise<NodeRoute> {
    const { monitor } = this.parts;
    const startedAtMs = this.parts.clock.nowMs();
    let reason = firstReason;
    for (;;) {
      const { commonError } = monitor;
      if (commonError !== null && !isTransient(codeOf(commonError))) throw commonError;
      const waitedMs = this.parts.clock.nowMs() - startedAtMs;
      const leftMs = progress.deadlineMs - this.parts.clock.nowMs();
      const isHopeless = commonError !== null && !monitor.hasReached && waitedMs > UNREACHED_PATIENCE_MS;
      if (isHopeless || leftMs <= 0) throw this.giveUp(progress, reason, waitedMs);
      await this.#nextNews(leftMs);
      progress.excluded = NONE_EXCLUDED;
      if (progress.session !== null) await settleSession(progress.session, monitor);
      const route = this.routeNow(progress);
      if (route.kind === 'node') return route;
      ({ reason } = route);
    }
  }

  /** The error for a statement that no server took. */
  giveUp(
    { lastError, isAppsLimit = false }: Pick<RouteProgress, 'lastError' | 'isAppsLimit'>,
    reason: string,
    waitedMs: number,
  ): Error {
    const { monitor } = this.parts;
    const nodes = monitor.describeNodes();
    const facts = { reason, waitedMs, nodes, cause: lastError ?? monitor.firstError };
    if (monitor.commonError !== null && !monitor.hasReached) return nobodyReached(facts);
    return isAppsLimit ? connectTimeout(noLeader(facts)) : noLeader(facts);
  }

  #nextNews(leftMs: number): Promise<void> {
    this.#news ??= this.#awaitUsefulNews(this.parts.clock.nowMs() + Math.min(leftMs, 100)).finally(() => {
      this.#news = null;
    });
    return this.#news;
  }

  /** Without a leader, thousands may wait, and most news are that nothing has changed. */
  async #awaitUsefulNews(untilMs: number): Promise<void> {
    const { monitor } = this.parts;
    const followers = this.#currentTable().plain.all.length;
    for (;;) {
      const leftMs = untilMs - this.parts.clock.nowMs();
      if (leftMs <= 0) return;
      await monitor.nextChange(leftMs);
      if (monitor.leadership.leader !== null || this.#currentTable().plain.all.length !== followers) return;
    }
  }

  /** A node failed a statement for reasons of its own: this one goes elsewhere, and after several all do. */
  failed(progress: Pick<RouteProgress, 'excluded'>, node: NodeKey): void {
    exclude(progress, node);
    this.#breakers.set(
      node,
      recordFailure(this.#breakers.get(node) ?? CLOSED_BREAKER, this.parts.clock.nowMs()),
    );
    this.#table = null;
    void this.parts.monitor.probeNow(node);
  }

  /** A node answered: nothing is held against it any more. */
  answered(node: NodeKey): void {
    if (this.#breakers.size > 0 && this.#breakers.delete(node)) this.#table = null;
  }

  /** The node for a statement as things stand, or why it must wait. */
  routeNow(progress: RouteProgress): Route {
    const { random, monitor } = this.parts;
    const { session } = progress;
    if (session !== null && isInDoubt(session, monitor.leadership)) return IN_DOUBT;
    const request = requestOf(progress, this.parts);
    const route = decideRoute(request, this.#currentTable(), [random(), random()], this.parts.clock.nowMs());
    if (this.#breakers.size > 0 && route.kind === 'node') this.#admitTrial(route.node);
    return route;
  }

  /** What {@link routeNow} would say of a single statement, and why; it changes nothing. */
  explain(classification: Classification, session: SessionState | null): RouteExplanation {
    const { random, monitor, rules } = this.parts;
    const nowMs = this.parts.clock.nowMs();
    const told = {
      session,
      access: classification.mayUseFollower ? 'any' : 'leader',
      excluded: NONE_EXCLUDED,
      maxStalenessMs: session?.maxStalenessMs ?? null,
    } as const;
    const request = requestOf(told, this.parts);
    const nodes = this.#nodes();
    const blocked = this.#blocked(nowMs);
    const table = createRouteTable(nodes, monitor.leadership.timeline, rules, blocked, nowMs);
    const isDoubtful = session !== null && isInDoubt(session, monitor.leadership);
    return explainRoute({
      classification,
      request,
      route: isDoubtful ? IN_DOUBT : decideRoute(request, table, [random(), random()], nowMs),
      table,
      nodes,
      rules,
      blocked,
      nowMs,
      nameOf: (key) => monitor.nameOf(key),
      watermarkOf: (key) => monitor.watermarkOf(key),
    });
  }

  /** Whether a follower chosen a while ago is still fresh enough for a statement with a bound. */
  isStillFresh({ maxStalenessMs = null }: RouteProgress, node: NodeKey): boolean {
    if (maxStalenessMs === null) return true;
    const viewed = this.parts.monitor.view.find(({ key }) => key === node);
    return viewed?.freshAsOfMs != null && viewed.freshAsOfMs >= this.parts.clock.nowMs() - maxStalenessMs;
  }

  #admitTrial(node: NodeKey): void {
    const breaker = this.#breakers.get(node);
    if (breaker === undefined || !isOpen(breaker)) return;
    this.#breakers.set(node, admitTrial(breaker, this.parts.clock.nowMs()));
    this.#table = null;
  }

  /** News about the cluster arrives several times a second; between them the table stands. */
  #currentTable(): RouteTable {
    const { version } = this.parts.monitor;
    if (this.#table !== null && this.#tableVersion === version) return this.#table;
    const { monitor, traffic, rules } = this.parts;
    const nowMs = this.parts.clock.nowMs();
    traffic.fade(nowMs);
    const blocked = this.#blocked(nowMs);
    this.#table = createRouteTable(this.#nodes(), monitor.leadership.timeline, rules, blocked, nowMs);
    this.#tableVersion = version;
    return this.#table;
  }

  #nodes(): RouteNode[] {
    const { monitor, traffic } = this.parts;
    return monitor.view.map((viewed) => {
      const { zone, weight } = monitor.memberOf(viewed.key) ?? { zone: null, weight: 1 };
      return { ...viewed, zone, weight, load: traffic.load(viewed.key) };
    });
  }

  #blocked(nowMs: number): Set<NodeKey> {
    const open = [...this.#breakers].filter(([, breaker]) => isBlocked(breaker, nowMs));
    return new Set(open.map(([key]) => key));
  }

  /** A lease on the leader when there is a free connection to it right now. */
  tryAcquireLeader(source: LeaseSource, session: SessionState | null): Lease | null {
    const route = this.routeNow({
      session,
      deadlineMs: 0,
      excluded: NONE_EXCLUDED,
      access: 'leader',
      lastError: null,
    });
    return route.kind === 'node' ? source.tryAcquire(route.node) : null;
  }

  /** A lease on the leader, waiting for one as long as an operation may. Throws NO_LEADER. */
  acquireLeader(source: LeaseSource, session: SessionState | null, deadlineMs: number): Promise<Lease> {
    const excluded = NONE_EXCLUDED;
    return this.acquire(source, { session, deadlineMs, excluded, access: 'leader', lastError: null });
  }

  /** The same on any node that may take the statement. Throws NO_LEADER. */
  async acquire(source: LeaseSource, progress: RouteProgress): Promise<Lease> {
    for (;;) {
      const { node, role } = await this.awaitRoute(progress);
      try {
        const lease = await source.acquire(node);
        if (lease === null) continue;
        if (role === 'follower' || this.parts.monitor.leadership.leader === node) return lease;
        source.release(lease, undefined, false);
      } catch (error) {
        progress.lastError = toError(error);
        if (isAppsOwn(progress.lastError) || !isTransient(codeOf(error))) throw error;
        this.failed(progress, node);
      }
    }
  }

  /**
   * Asks a node that refused a write whether it leads, and goes on to. While it does, the refusal is the
   * statement's own (a transaction declared READ ONLY), not a change of leadership.
   */
  async confirmsLeader(node: NodeKey): Promise<boolean> {
    const { monitor } = this.parts;
    // A question under way was asked before, and a server tells its processes of a change one after the other.
    for (let look = 0; look < 3; look += 1) {
      await monitor.probeNow(node);
      const probed = monitor.view.find(({ key }) => key === node);
      if (monitor.leadership.leader !== node || probed?.lsn == null) return false;
    }
    return true;
  }

  /**
   * Whether a transaction that has just begun on the leader cannot write because another node is about to lead.
   * Where somebody else wants it to read only, one question settles that for a connection.
   */
  async isHandedOver({ node, readOnlySinceMs }: Lease): Promise<boolean> {
    if (readOnlySinceMs === null) return false;
    const { monitor } = this.parts;
    const isSettled = monitor.leadership.leader === node && monitor.askedAtMs(node) > readOnlySinceMs + 100;
    return !isSettled && !(await this.confirmsLeader(node));
  }
}

function requestOf(
  {
    session,
    access,
    excluded,
    maxStalenessMs = null,
  }: Pick<RouteProgress, 'session' | 'access' | 'excluded' | 'maxStalenessMs'>,
  parts: FinderParts,
): RouteRequest {
  const token = session?.token ?? null;
  return {
    access,
    isSession: session !== null && (session.isMonotonic || token !== null),
    token,
    preferred: session?.isMonotonic === false ? knownPast(token, parts) : (session?.lastFollower ?? null),
    completeAsOfMs: maxStalenessMs === null ? -Infinity : parts.clock.nowMs() - maxStalenessMs,
    excluded,
  };
}

/** A follower that was seen past what the session must be shown, so that it needs no check; null when none or all were. */
function knownPast(token: ConsistencyToken | null, { monitor, random }: FinderParts): NodeKey | null {
  if (token === null) return null;
  let followers = 0;
  const past: NodeKey[] = [];
  for (const { key, role } of monitor.view) {
    if (role !== 'follower') continue;
    followers += 1;
    const watermark = monitor.watermarkOf(key);
    if (watermark !== null && watermark.lsn >= token.lsn) past.push(key);
  }
  return past.length === followers ? null : (past[Math.floor(random() * past.length)] ?? null);
}
