import type { NodeKey } from '../../model/node.ts';
import type { Lease } from '../../wire/contract.ts';

/** Where a caller's connections come from: the pool, or the one place of a checked-out client. */
export interface LeaseSource {
  /** How long the app wants to wait for a connection at most: `connectionTimeoutMillis`; infinite without it. */
  readonly waitLimitMs: number;
  /** Whether statements one after another get the same connection while a transaction is open in it. */
  readonly holdsTransactions: boolean;
  /** A connection that is there at once; null when it takes waiting for a place or connecting. */
  tryAcquire(node: NodeKey): Lease | null;
  /** Null when the node went down while the caller waited for a place: another one is to be chosen. */
  acquire(node: NodeKey): Promise<Lease | null>;
  /**
   * Called once per acquired lease. `error` means that the connection is of no further use; `leavesState`
   * that the statement left something behind in it, or a transaction open.
   */
  release(lease: Lease, error: Error | boolean | undefined, leavesState: boolean): void;
}
