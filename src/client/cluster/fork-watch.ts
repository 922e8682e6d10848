import { parseLsn } from '../../model/lsn.ts';
import type { Lsn } from '../../model/lsn.ts';
import type { Topology } from '../../model/topology.ts';
import { forkByAncestors, forkByProbes } from './core/lost-write.ts';
import type { FollowerPosition, Fork, ForkBounds } from './core/lost-write.ts';
import type { NodeKey } from '../../model/node.ts';
import type { Probe } from './core/leadership.ts';

/** Each failover leaves one; sessions of older ones have long been told. */
const MAX_PROMOTIONS = 16;

/** How long agents may take to tell what probes have seen already. */
const AGENTS_PATIENCE_MS = 2000;

interface Promotion {
  readonly timeline: number;
  readonly bounds: ForkBounds;
}

/** Remembers where the cluster's history left older timelines. */
export class ForkWatch {
  readonly #followers = new Map<NodeKey, FollowerPosition>();
  /** By the timeline that was started. */
  #promotions: readonly Promotion[] = [];
  #newestSinceMs = 0;
  #told: { readonly timeline: number; readonly ancestors: readonly Fork[] } | null = null;

  /** Takes a probe's answer; `timeline` is what is proven of it, by probe or agents. */
  saw(key: NodeKey, probe: Probe, timeline: number | null, nowMs: number): void {
    if (probe.kind !== 'up') return;
    if (probe.isInRecovery) {
      this.#followers.set(key, { timeline, receivedLsn: probe.receivedLsn });
      return;
    }
    if (timeline !== null) this.#sawLeader(key, timeline, probe.lsn, nowMs);
  }

  #sawLeader(key: NodeKey, timeline: number, lsn: Lsn | null, nowMs: number): void {
    const newest = this.#promotions.at(-1);
    if (newest !== undefined && newest.timeline >= timeline) return;
    const bounds = forkByProbes(this.#followers.get(key) ?? null, { timeline, lsn });
    this.#promotions = [...this.#promotions.slice(1 - MAX_PROMOTIONS), { timeline, bounds }];
    this.#newestSinceMs = nowMs;
  }

  /** Takes what agents tell. */
  heard({ timeline, forks }: Topology): void {
    // An agent of an older version does not tell it.
    if (timeline === null || (forks as Topology['forks'] | undefined) === undefined) return;
    if (this.#told !== null && this.#told.timeline > timeline) return;
    const ancestors = forks.map((fork) => ({ timeline: fork.timeline, forkedAt: parseLsn(fork.forkedAt) }));
    this.#told = { timeline, ancestors };
  }

  /**
   * Where the history up to `leaderTimeline` left `timeline`; null while agents, who know it, are about to
   * tell.
   */
  forkOf(timeline: number, leaderTimeline: number, hasAgents: boolean, nowMs: number): ForkBounds | null {
    if (this.#told !== null && this.#told.timeline >= leaderTimeline)
      return forkByAncestors(timeline, this.#told.ancestors);
    if (hasAgents && nowMs - this.#newestSinceMs < AGENTS_PATIENCE_MS) return null;
    const promotion = this.#promotions.find((started) => started.timeline > timeline);
    if (promotion === undefined) return { atLeast: null, atMost: null };
    // What a follower had received is of the timeline just before its own.
    const isNext = promotion.timeline === timeline + 1;
    return { atLeast: isNext ? promotion.bounds.atLeast : null, atMost: promotion.bounds.atMost };
  }
}
