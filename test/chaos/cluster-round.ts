import { chooseTarget, faultOf, wakeOf } from './cluster-faults.ts';
import type { Target } from './cluster-faults.ts';
import { nowMs } from './cluster-load.ts';
import type { ClusterLoad } from './cluster-load.ts';
import { readRows } from './cluster-rows.ts';
import type { PlannedRound } from './core/cluster-faults.ts';
import { checkRound, LOCKSTEP_CLIENT, longestSilenceMs } from './core/cluster-history.ts';
import type { ClusterWrite, RoundVerdict, TimelineSight, Wake } from './core/cluster-history.ts';
import type { HostCluster } from './hosts/cluster.ts';

/** A node that copies its data anew on a busy machine takes a while. */
const HEAL_PATIENCE_MS = 120_000;
const FAILOVER_PATIENCE_MS = 30_000;
const WRITE_PATIENCE_MS = 30_000;
const REST_PATIENCE_MS = 45_000;
/** Writes through the client that must be acknowledged before a round counts as begun or healed. */
const WRITES_WHEN_HEALED = 30;

/** Twice what a busy machine lags behind; a woken watchdog looks every 20 ms. */
const BOUNDS = { asyncLossMs: 2_000, wakeMs: 250 };

export interface Finding {
  readonly rule: string;
  readonly what: string;
}

export interface RoundOutcome {
  readonly verdict: RoundVerdict | null;
  readonly unavailableMs: number;
  readonly hasFailedOver: boolean;
  readonly findings: readonly Finding[];
  /** False: later rounds need a new cluster. */
  readonly isUsable: boolean;
  /** For people. */
  readonly line: string;
}

/** What one round knows of the rounds before on the same cluster. */
export interface ClusterMemory {
  timelines: readonly TimelineSight[];
}

/** One round: healthy writes, the fault, healing, rest, and the check. */
export class ClusterRound {
  readonly #cluster: HostCluster;
  readonly #load: ClusterLoad;
  readonly #plan: PlannedRound;
  readonly #findings: Finding[] = [];
  readonly #wakes: Wake[] = [];
  #faultAtMs = 0;

  constructor(cluster: HostCluster, load: ClusterLoad, plan: PlannedRound) {
    this.#cluster = cluster;
    this.#load = load;
    this.#plan = plan;
  }

  async run(round: number, memory: ClusterMemory): Promise<RoundOutcome> {
    this.#load.beginRound(round);
    try {
      return await this.#strikeAndCheck(round, memory);
    } catch (error) {
      if ((error as Error).name === 'AbortError') throw error;
      const what = error instanceof Error ? error.message : String(error);
      this.#findings.push({ rule: 'stuck', what });
      return {
        verdict: null,
        unavailableMs: this.#faultAtMs === 0 ? 0 : this.#silenceMs(nowMs()),
        hasFailedOver: false,
        findings: this.#findings,
        isUsable: false,
        line: `${this.#plan.fault}: ${what}`,
      };
    }
  }

  async #strikeAndCheck(round: number, memory: ClusterMemory): Promise<RoundOutcome> {
    const { fault } = this.#plan;
    await this.#untilWritten('before the fault');
    const before = await this.#cluster.untilWhole(HEAL_PATIENCE_MS);
    const target = await chooseTarget(this.#cluster, this.#plan);
    await this.#strike(target);
    const healedAtMs = nowMs();
    const whole = await this.#cluster.untilWhole(HEAL_PATIENCE_MS);
    const wholeAtMs = nowMs();
    await this.#untilWritten('after the fault');
    const hung = await this.#load.rest(REST_PATIENCE_MS);
    const endedAtMs = nowMs();
    for (const what of hung) this.#findings.push({ rule: 'call hangs', what });
    const leader = whole.leader ?? '';
    const { rows, earlier } = await readRows(this.#cluster, round);
    const digests = new Set(earlier.map(({ digest }) => digest));
    if (digests.size > 1) {
      const what = `rows of earlier rounds: ${earlier.map(({ node, digest }) => `${node} ${digest}`).join('; ')}`;
      this.#findings.push({ rule: 'nodes differ', what });
    }
    const verdict = checkRound(
      {
        writes: this.#load.writes,
        rows,
        faultAtMs: this.#faultAtMs,
        wakes: this.#wakes,
        timelines: memory.timelines,
      },
      BOUNDS,
    );
    memory.timelines = verdict.timelines;
    const unavailableMs = this.#silenceMs(Math.min(wholeAtMs, endedAtMs));
    const { overlaps, asyncLost, acknowledged, lost } = verdict;
    return {
      verdict,
      unavailableMs,
      hasFailedOver: whole.timeline !== before.timeline,
      findings: [...this.#findings, ...verdict.violations],
      isUsable: hung.length === 0,
      line: [
        `${fault}: ${before.leader}${fault.includes('follower') ? ` (${target.follower.name})` : ''} → ${leader}`,
        `timeline ${whole.timeline}`,
        `unavailable ${unavailableMs} ms`,
        `fault ${Math.round(healedAtMs - this.#faultAtMs)} ms, whole ${Math.round(wholeAtMs - healedAtMs)} ms later`,
        `${acknowledged} acknowledged, ${lost} lost, ${asyncLost.count} async lost (${asyncLost.windowMs} ms)`,
        `${overlaps.count} overlaps (${overlaps.worstMs} ms)`,
      ].join(', '),
    };
  }

  #silenceMs(untilMs: number): number {
    return longestSilenceMs(this.#load.writes.filter(isRetrying), this.#faultAtMs, untilMs);
  }

  /** Strikes, lets the fault last as planned, and heals, also when the run is stopped in between. */
  async #strike(target: Target): Promise<void> {
    const { fault, lastsMs, mustFailOver } = this.#plan;
    this.#faultAtMs = nowMs();
    let suspendedAtMs = this.#faultAtMs;
    try {
      await faultOf(fault).strike(target);
      suspendedAtMs = nowMs();
      if (mustFailOver) await this.#untilFailedOver(target);
      await this.#cluster.pause(lastsMs);
    } finally {
      const wake = wakeOf(fault, target, { suspendedAtMs, atMs: nowMs() });
      if (wake !== null) this.#wakes.push(wake);
      await faultOf(fault).heal(target);
    }
  }

  /** One node's fault must not outlast the cluster's patience: another one acknowledges. */
  async #untilFailedOver({ leader }: Target): Promise<void> {
    const deadlineMs = performance.now() + FAILOVER_PATIENCE_MS;
    while (performance.now() < deadlineMs) {
      const isDone = this.#load.writes.some(
        ({ told, calledAtMs }) =>
          told.kind === 'acknowledged' && told.node !== leader.name && calledAtMs > this.#faultAtMs,
      );
      if (isDone) return;
      await this.#cluster.pause(20);
    }
    const what = `${this.#plan.fault} on ${leader.name}: no other node acknowledged a write within ${FAILOVER_PATIENCE_MS} ms`;
    this.#findings.push({ rule: 'no failover', what });
  }

  async #untilWritten(when: string): Promise<void> {
    const count = (): number => this.#load.writes.filter(isRetrying).filter(isAcknowledged).length;
    const wanted = count() + WRITES_WHEN_HEALED;
    const deadlineMs = performance.now() + WRITE_PATIENCE_MS;
    while (count() < wanted) {
      if (performance.now() > deadlineMs)
        throw new Error(
          `fewer than ${WRITES_WHEN_HEALED} synchronous writes in ${WRITE_PATIENCE_MS} ms ${when}`,
        );
      await this.#cluster.pause(20);
    }
  }
}

/** By Lockstep's client, which finds the new leader, and synchronous: an old one's word does not count. */
function isRetrying({ client, level }: ClusterWrite): boolean {
  return client === LOCKSTEP_CLIENT && level !== 'async';
}

function isAcknowledged({ told }: ClusterWrite): boolean {
  return told.kind === 'acknowledged';
}
