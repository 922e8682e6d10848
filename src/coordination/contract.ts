/**
 * Small agreed state for agents. A register holds one JSON value; `version` counts its changes and is 0
 * while it was never written. Implementations: embedded (CASPaxos between the agents) and etcd.
 */
export interface Register {
  readonly version: number;
  /** Undefined exactly when `version` is 0. */
  readonly value: unknown;
}

/**
 * `applied`: a majority durably holds the new value. `conflict`: the register had another version, which
 * is `current`; nothing was written. `unknown`: no majority answered in time; the value may still take
 * effect until a later read or compareAndSet by anyone settles it.
 */
export type CompareAndSetResult =
  | { readonly kind: 'applied'; readonly register: Register }
  | { readonly kind: 'conflict'; readonly current: Register }
  | { readonly kind: 'unknown'; readonly reason: string };

/** Linearizable registers. Every method may be called concurrently. */
export interface Coordination {
  /** The newest committed value: never older than any read or applied write that ended before this call began. Throws QUORUM_NOT_REACHED. */
  read(key: string): Promise<Register>;

  /** Writes `value` (JSON) when the register is at `expectedVersion`, making it `expectedVersion + 1`. Never throws for lack of a majority: that is `unknown`. */
  compareAndSet(key: string, expectedVersion: number, value: unknown): Promise<CompareAndSetResult>;

  /** Says that this process is about to write `key`: what a write does before it needs its value may be done now. No more than a hint. */
  expectWrite(key: string): void;

  /**
   * Calls `listener` with versions in growing order, soon after they are committed; some may be skipped.
   * What it tells was true once: decide by it only where a later compareAndSet would find out. Returns
   * the function that ends the watch.
   */
  watch(key: string, listener: (register: Register) => void): () => void;

  /** Ends the watches, which tell nothing more, and the calls under way, each in its time at the latest. */
  close(): Promise<void>;
}
