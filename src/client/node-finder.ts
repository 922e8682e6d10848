import { codeOf, isTransient } from './core/retry.ts';
import { decideRoute } from './core/route.ts';
import type { Route } from './core/route.ts';
import type { NodeKey } from './core/topology.ts';
import { isOwnTimeout, noLeader, toError } from './failures.ts';
import type { Lease } from './node-pools.ts';
import type { ClientLimits } from './options.ts';
import type { SessionState } from './session-state.ts';
import type { TopologyMonitor } from './topology.ts';
import type { Traffic } from './traffic.ts';

/** Where a caller's connections come from: the pool, or the one place of a checked-out client. */
export interface LeaseSource {
  acquire(node: NodeKey): Promise<Lease>;
  /**
   * Called once per acquired lease. `error` means that the connection is of no further use; `leavesState`
   * that the statement left something behind in it, or a transaction open.
   */
  release(lease: Lease, error: Error | boolean | undefined, leavesState: boolean): void;
}

export type NodeRoute = Extract<Route, { kind: 'node' }>;

/** What choosing a node goes by. */
export interface RouteProgress {
  readonly session: SessionState | null;
  readonly deadlineMs: number;
  readonly excluded: Set<NodeKey>;
  access: 'any' | 'leader';
  lastError: Error | null;
}

/** What {@link NodeFinder} works with. */
export interface FinderParts {
  readonly monitor: TopologyMonitor;
  readonly traffic: Traffic;
  readonly limits: ClientLimits;
  /** Numbers in [0, 1). */
  readonly random: () => number;
}

/** Finds the node for a statement, waiting for one where the cluster has none just now. */
export class NodeFinder {
  readonly parts: FinderParts;

  constructor(parts: FinderParts) {
    this.parts = parts;
  }

  /** Waits until some node may take the statement. Throws NO_LEADER when none did in time. */
  async awaitRoute(progress: RouteProgress): Promise<NodeRoute> {
    const { monitor, limits } = this.parts;
    if (monitor.leadership.leader === null) void monitor.start();
    for (;;) {
      const route = this.#route(progress);
      if (route.kind === 'node') return route;
      const { commonError } = monitor;
      if (commonError !== null && !isTransient(codeOf(commonError))) throw commonError;
      const leftMs = progress.deadlineMs - performance.now();
      if (leftMs <= 0)
        throw noLeader(route.reason, limits.failoverTimeoutMs, monitor.describeNodes(), progress.lastError);
      await monitor.nextChange(Math.min(leftMs, 100));
      progress.excluded.clear();
    }
  }

  #route(progress: RouteProgress): Route {
    const { monitor, traffic, limits, random } = this.parts;
    const nodes = monitor.view.map((node) => ({
      ...node,
      outstanding: traffic.outstanding(node.key),
      latencyMs: traffic.latencyMs(node.key),
    }));
    return decideRoute(
      {
        access: progress.access,
        token: progress.session?.token ?? null,
        maxLagBytes: limits.maxReadLagBytes,
        excluded: progress.excluded,
        leaderTimeline: monitor.leadership.timeline,
      },
      nodes,
      [random(), random()],
    );
  }

  /** A lease on the leader, waiting for one as long as an operation may. Throws NO_LEADER. */
  async acquireLeader(source: LeaseSource, session: SessionState | null, deadlineMs: number): Promise<Lease> {
    const progress: RouteProgress = {
      session,
      deadlineMs,
      excluded: new Set(),
      access: 'leader',
      lastError: null,
    };
    for (;;) {
      const { node } = await this.awaitRoute(progress);
      try {
        const lease = await source.acquire(node);
        if (this.parts.monitor.leadership.leader === node) return lease;
        source.release(lease, undefined, false);
      } catch (error) {
        progress.lastError = toError(error);
        if (isOwnTimeout(progress.lastError) || !isTransient(codeOf(error))) throw error;
        progress.excluded.add(node);
        void this.parts.monitor.probeNow(node);
      }
    }
  }

  /**
   * Asks a node that refused a write whether it leads. While it does, the refusal is the statement's own
   * (a transaction declared READ ONLY), not a change of leadership.
   */
  async confirmsLeader(node: NodeKey): Promise<boolean> {
    const { monitor } = this.parts;
    await monitor.probeNow(node);
    const probed = monitor.view.find(({ key }) => key === node);
    return monitor.leadership.leader === node && probed?.lsn != null;
  }
}
