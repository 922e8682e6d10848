import { isSynchronous, parseDurability } from '../../model/durability.ts';
import type { DurabilityLevels, DurabilityName, SynchronousCommit } from '../../model/durability.ts';
import { LockstepError } from '../../model/errors.ts';
import type { Classification } from '../classify/core/classify.ts';
import { startExchange } from '../../wire/exchange.ts';
import type { ExchangePlan, ExchangeReport } from '../../wire/contract.ts';
import type { Lease } from '../../wire/contract.ts';
import { checkCount } from '../app/checks.ts';
import type { TopologyMonitor } from '../cluster/topology-monitor.ts';

/** How long a commit waits, and for what. */
export interface CommitWait {
  /** A built-in durability, or a policy of the pool's. Default: the server's `synchronous_commit`. */
  readonly durability?: DurabilityName | undefined;
  /** How long it waits for followers before DURABILITY_TIMEOUT; 0 for ever. Default: the pool's. */
  readonly durabilityTimeoutMs?: number | undefined;
}

/** A {@link CommitWait} with the pool's own names and limits filled in; `level` null is the server's. */
export interface ResolvedCommitWait {
  readonly level: SynchronousCommit | null;
  readonly limitMs: number;
}

/** Throws CONFIG_INVALID for an unknown durability, or a limit that is none. */
export function resolveCommitWait(
  { durability, durabilityTimeoutMs }: CommitWait,
  levels: DurabilityLevels,
  defaultLimitMs: number,
): ResolvedCommitWait {
  checkCount('durabilityTimeoutMs', durabilityTimeoutMs, 0);
  const level = durability === undefined ? null : parseDurability(durability, levels);
  return { level, limitMs: durabilityTimeoutMs ?? defaultLimitMs };
}

/** A durability rides in front of its statement by the extended protocol, which takes one at a time. */
export function refuseManyStatements({ isSingle }: Classification): void {
  if (isSingle) return;
  throw new LockstepError(
    'CONFIG_INVALID',
    'A durability applies to a single statement; use transaction() for several.',
  );
}

/** Whether a level waits for followers; null is the server's default, which may. */
export function mayWaitForFollowers(level: SynchronousCommit | null): boolean {
  return level === null || isSynchronous(level);
}

/**
 * Runs an exchange that may commit, and bounds its wait for followers. When the time is up the server is
 * asked what the commit waits for: in `SyncRep` it is applied on the leader, so the caller is told so and
 * the connection is given up. It is never cancelled, since PostgreSQL would then report success (I4). Anything
 * else (a long statement, a lock) goes on. `finish` gets null when the wait was given up.
 * Source: PostgreSQL documentation, "Synchronous Replication", and table "Wait Events of Type IPC".
 */
export function startExchangeWithinLimit(
  lease: Lease,
  plan: ExchangePlan,
  { monitor, limitMs, isCommit }: SyncWaitLimit,
  finish: (report: ExchangeReport | null) => void,
): void {
  if (limitMs <= 0) return startExchange(lease, plan, finish);
  const watch = new SyncWaitWatch(lease, monitor, limitMs, isCommit ? 1 : 2, () => finish(null));
  startExchange(lease, plan, (report) => {
    if (watch.stop()) finish(report);
  });
}

/** {@link startExchangeWithinLimit} as a promise. */
export function exchangeWithinLimit(
  lease: Lease,
  plan: ExchangePlan,
  limit: SyncWaitLimit,
): Promise<ExchangeReport | null> {
  return new Promise((resolve) => startExchangeWithinLimit(lease, plan, limit, resolve));
}

export interface SyncWaitLimit {
  readonly monitor: TopologyMonitor;
  /** 0: for ever. */
  readonly limitMs: number;
  /** Whether the exchange is nothing but a COMMIT, or a statement that may run long before it commits. */
  readonly isCommit: boolean;
}

/**
 * A statement that commits by itself may have run long before its commit began to wait, so it must be seen
 * waiting twice, one limit apart.
 */
class SyncWaitWatch {
  #callOff: (() => void) | null;
  #sightings = 0;

  constructor(
    lease: Lease,
    monitor: TopologyMonitor,
    limitMs: number,
    neededSightings: number,
    onExceeded: () => void,
  ) {
    const checkLater = (): (() => void) => lease.clock.after(limitMs, () => void check());
    const check = async (): Promise<void> => {
      const pid = (lease.client as unknown as { processID: number }).processID;
      const isWaiting = (await monitor.waitEventOf(lease.node, pid)) === 'SyncRep';
      if (this.#callOff === null) return;
      this.#sightings = isWaiting ? this.#sightings + 1 : 0;
      if (this.#sightings < neededSightings) this.#callOff = checkLater();
      else if (this.stop()) onExceeded();
    };
    this.#callOff = checkLater();
  }

  /** Whether it was still watching. */
  stop(): boolean {
    const wasWatching = this.#callOff !== null;
    this.#callOff?.();
    this.#callOff = null;
    return wasWatching;
  }
}
