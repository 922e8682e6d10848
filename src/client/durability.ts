import { exchange } from './exchange.ts';
import type { ExchangePlan, ExchangeReport } from './exchange.ts';
import type { Lease } from './node-pools.ts';
import type { TopologyMonitor } from './topology.ts';

/**
 * Runs an exchange that may commit, and bounds its wait for followers. When the time is up the server is
 * asked what the commit waits for: in `SyncRep` it is applied on the leader, so the caller is told so and
 * the connection is given up. It is never cancelled, since PostgreSQL would then report success. Anything
 * else (a long statement, a lock) goes on. Returns null when the wait was given up.
 * Source: PostgreSQL documentation, "Synchronous Replication", and table "Wait Events of Type IPC".
 */
export async function exchangeWithinLimit(
  lease: Lease,
  plan: ExchangePlan,
  monitor: TopologyMonitor,
  durabilityTimeoutMs: number,
  isCommit: boolean,
): Promise<ExchangeReport | null> {
  const running = exchange(lease.client, plan);
  if (durabilityTimeoutMs <= 0) return running;
  const watch = new SyncWaitWatch(lease, monitor, durabilityTimeoutMs, isCommit ? 1 : 2);
  try {
    return await Promise.race([running, watch.exceeded]);
  } finally {
    watch.stop();
  }
}

/**
 * A statement that commits by itself may have run long before its commit began to wait, so it must be seen
 * waiting twice, one limit apart.
 */
class SyncWaitWatch {
  readonly exceeded: Promise<null>;
  #timer: NodeJS.Timeout | undefined;
  #sightings = 0;

  constructor(lease: Lease, monitor: TopologyMonitor, limitMs: number, neededSightings: number) {
    const pid = (lease.client as unknown as { processID: number }).processID;
    this.exceeded = new Promise((resolve) => {
      const check = async (): Promise<void> => {
        const isWaiting = (await monitor.waitEventOf(lease.node, pid)) === 'SyncRep';
        this.#sightings = isWaiting ? this.#sightings + 1 : 0;
        if (this.#sightings >= neededSightings) resolve(null);
        else if (this.#timer !== undefined) this.#timer = setTimeout(() => void check(), limitMs);
      };
      this.#timer = setTimeout(() => void check(), limitMs);
    });
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }
}
