import { setTimeout as delay } from 'node:timers/promises';
import { connect } from '../../src/index.ts';
import type { LockstepPool } from '../../src/index.ts';
import type { Topology } from '../../src/model/topology.ts';
import { startTestCluster } from '../../src/testing/cluster.ts';
import type { TestCluster } from '../../src/testing/cluster.ts';
import { startFaultProxy } from '../../src/testing/fault-proxy.ts';
import type { StatementFault } from '../../src/testing/fault-proxy.ts';
import { checkHistory, longestGapMs, median } from './core/history.ts';
import type { Effect, History, Rule, Violation } from './core/history.ts';
import { createRandom } from '../../src/testing/simulation/random.ts';
import { drawFault, injectFault } from './faults.ts';
import type { FaultName } from './faults.ts';
import { CREATE_EFFECTS, Load } from './load.ts';

export interface ChaosOptions {
  readonly rounds: number;
  readonly seed: number;
  /** Told about every round. */
  readonly onProgress: (line: string) => void;
  /** Asked before every round. */
  readonly isStopped?: () => boolean;
}

export interface ChaosResult {
  readonly scenario: 'client-failover';
  readonly seed: number;
  readonly rounds: number;
  readonly faults: Readonly<Partial<Record<FaultName | 'cut-commits', number>>>;
  /** Changes of timeline: each is a new leader. */
  readonly failovers: number;
  readonly acknowledged: number;
  /** Acknowledged synchronous writes that are not there. */
  readonly lost: number;
  /** Acknowledged asynchronous writes that are not there, which is allowed. */
  readonly asyncLost: number;
  readonly doubled: number;
  readonly overlaps: number;
  /** `met`: answers to a write that got lost; `resolved`: of those, settled by a key; `told`: shown to callers without one. */
  readonly unknown: { readonly met: number; readonly resolved: number; readonly told: number };
  readonly sessionReads: number;
  readonly repeats: number;
  /** From the fault on, longest time without an acknowledged synchronous write, over rounds that moved the leader. */
  readonly unavailableMs: { readonly median: number; readonly worst: number };
  readonly violations: readonly (Violation | { readonly rule: 'stuck'; readonly what: string })[];
}

/** The healthy leader, too, loses this share of its answers to COMMIT through the proxy. */
const COMMIT_FAULTS: readonly StatementFault[] = [
  { when: 'in-flight', share: 0.01 },
  { when: 'late', share: 0.01 },
  { when: 'answered', share: 0.02 },
  { when: 'before', share: 0.01 },
];

/**
 * A real cluster of three under mixed load, half of it through a proxy that cuts connections around COMMIT.
 * Each round strikes once more and waits until the cluster is whole and writes flow. At the end what callers
 * were told is held against what the database has.
 */
export async function runClientFailover(options: ChaosOptions): Promise<ChaosResult> {
  const random = createRandom(options.seed);
  await using cluster = await startTestCluster();
  await using proxy = await startFaultProxy(cluster.url, { random: createRandom(options.seed + 1) });
  const direct = connect({ connectionString: cluster.url, failoverTimeoutMs: 30_000 });
  const cut = connect({ connectionString: proxy.url, failoverTimeoutMs: 30_000 });
  const pools = [direct, cut];
  try {
    await direct.query(CREATE_EFFECTS);
    const load = new Load(
      [
        { name: 'direct', pool: direct, callers: 4 },
        { name: 'cut', pool: cut, callers: 4 },
      ],
      createRandom(options.seed + 2),
    );
    proxy.disturb(...COMMIT_FAULTS);
    const log = new RoundLog();
    const firstTimeline = (await cluster.untilWhole()).timeline ?? 0;
    try {
      for (let round = 1; round <= options.rounds && options.isStopped?.() !== true; round += 1) {
        const fault = drawFault(random);
        load.beginRound(round);
        const line = await log.run(fault, load, cluster, () =>
          injectFault(fault, { cluster, proxy, random }),
        );
        options.onProgress(`${round}/${options.rounds} ${line}`);
      }
    } finally {
      proxy.disturb();
      await load.stop();
    }
    const { timeline } = await cluster.status();
    const facts = {
      seed: options.seed,
      faults: { ...log.faults, 'cut-commits': proxy.struck },
      failovers: (timeline ?? 0) - firstTimeline,
      stuck: log.stuck,
      gapsMs: log.gapsMs,
      rounds: log.rounds,
      met: sum(pools, 'unknownOutcomes'),
      resolved: sum(pools, 'resolvedOutcomes'),
    };
    return summarise(load.history, await readEffects(direct), facts);
  } finally {
    await Promise.all(pools.map((pool) => pool.end()));
  }
}

/**
 * A picture may be older than the fault, and a leader may hand over a moment after its PostgreSQL died: whole
 * means the same picture for a while. Only then may any node die without stopping the others.
 */
async function untilSettled(cluster: TestCluster): Promise<Topology> {
  const deadlineMs = performance.now() + PATIENCE_MS;
  let settled: Topology | null = null;
  let sinceMs = 0;
  for (;;) {
    const now = await cluster.untilWhole(PATIENCE_MS);
    if (settled?.term !== now.term || settled.timeline !== now.timeline) {
      settled = now;
      sinceMs = performance.now();
    }
    if (performance.now() - sinceMs > SETTLED_MS) return now;
    if (performance.now() > deadlineMs)
      throw new Error(`The cluster did not settle.\n${await cluster.logs()}`);
    await delay(20);
  }
}

const SETTLED_MS = 700;

/** Writes that must be acknowledged before a round counts as healed. */
const WRITES_AFTER_HEALING = 40;
/** A node that copies its data anew on a busy machine takes a while. */
const PATIENCE_MS = 180_000;

class RoundLog {
  readonly faults: Partial<Record<FaultName, number>> = {};
  readonly gapsMs: number[] = [];
  readonly stuck: string[] = [];
  rounds = 0;

  /** One round: a healthy moment, the fault, healing, and writes again. Returns a line for people. */
  async run(
    fault: FaultName,
    load: Load,
    cluster: TestCluster,
    inject: () => Promise<void>,
  ): Promise<string> {
    this.rounds += 1;
    this.faults[fault] = (this.faults[fault] ?? 0) + 1;
    try {
      return await this.#strike(fault, load, cluster, inject);
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      this.stuck.push(`${fault} in round ${this.rounds}: ${reason.split('\n', 1)[0] ?? ''}`);
      return `${fault}: ${reason}`;
    }
  }

  async #strike(
    fault: FaultName,
    load: Load,
    cluster: TestCluster,
    inject: () => Promise<void>,
  ): Promise<string> {
    await this.#untilWritten(load, `before ${fault}`);
    const before = await untilSettled(cluster);
    const firstWrite = load.writes.length;
    const struckAtMs = performance.now();
    await inject();
    const whole = await untilSettled(cluster);
    await this.#untilWritten(load, `after ${fault}`);
    const healedAtMs = performance.now();
    const gapMs = Math.round(longestGapMs(load.writes.slice(firstWrite), struckAtMs, healedAtMs));
    if (whole.timeline !== before.timeline) this.gapsMs.push(gapMs);
    return [
      `${fault}: ${before.leader} → ${whole.leader}`,
      `timeline ${whole.timeline}`,
      `unavailable ${gapMs} ms`,
      `whole after ${Math.round(healedAtMs - struckAtMs)} ms`,
      `${load.acknowledged} acknowledged`,
    ].join(', ');
  }

  async #untilWritten(load: Load, when: string): Promise<void> {
    const wanted = load.acknowledged + WRITES_AFTER_HEALING;
    const deadlineMs = performance.now() + PATIENCE_MS;
    while (load.acknowledged < wanted) {
      if (performance.now() > deadlineMs)
        throw new Error(`fewer than ${WRITES_AFTER_HEALING} writes in ${PATIENCE_MS} ms ${when}`);
      await delay(10);
    }
  }
}

async function readEffects(pool: LockstepPool): Promise<Map<string, Effect>> {
  const { rows } = await pool.leader.query<Effect & { id: string }>('SELECT id, count, run FROM effect');
  return new Map(rows.map(({ id, count, run }) => [id, { count, run }]));
}

interface RunFacts {
  readonly seed: number;
  readonly rounds: number;
  readonly faults: ChaosResult['faults'];
  readonly failovers: number;
  readonly gapsMs: readonly number[];
  readonly stuck: readonly string[];
  readonly met: number;
  readonly resolved: number;
}

function summarise(history: History, effects: ReadonlyMap<string, Effect>, facts: RunFacts): ChaosResult {
  const broken = checkHistory(history, effects);
  const count = (rule: Rule): number => broken.filter((violation) => violation.rule === rule).length;
  const { seed, rounds, faults, failovers, gapsMs, met, resolved } = facts;
  const acknowledged = history.writes.filter(({ told }) => told.kind === 'acknowledged');
  return {
    scenario: 'client-failover',
    seed,
    rounds,
    faults,
    failovers,
    acknowledged: acknowledged.length,
    lost: count('acknowledged write lost'),
    asyncLost: acknowledged.filter(({ id, isSynchronous }) => !isSynchronous && !effects.has(id)).length,
    doubled: count('write doubled'),
    overlaps: count('two leaders at once'),
    unknown: {
      met,
      resolved,
      told: history.writes.filter(({ told }) => told.kind === 'failed' && told.outcome === 'unknown').length,
    },
    sessionReads: history.reads.length,
    repeats: history.repeats.length,
    unavailableMs: { median: median(gapsMs), worst: Math.max(0, ...gapsMs) },
    violations: [...broken, ...facts.stuck.map((what) => ({ rule: 'stuck' as const, what }))],
  };
}

function sum(pools: readonly LockstepPool[], count: 'unknownOutcomes' | 'resolvedOutcomes'): number {
  return pools.reduce((total, pool) => total + pool.stats()[count], 0);
}
