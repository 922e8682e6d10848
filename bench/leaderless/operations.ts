/**
 * What is measured. Guarantees are paired: `put` and `compare-and-set` are on the disks of a majority when they answer, `get` is
 * linearizable on both sides, `quiet-get` is a read at `quorum` beside a serializable one, `hot-key` adds 1 to one number.
 */
export type Operation = 'put' | 'get' | 'quiet-get' | 'compare-and-set' | 'hot-key';

export interface WorkloadOptions {
  readonly operation: Operation;
  readonly callers: number;
  /** Of the three servers, or of etcd's leader. */
  readonly urls: readonly string[];
}

/** One operation of one caller. */
export type Work = (caller: number) => Promise<unknown>;
