/** Begins a transaction that fails where it would wait for a lock for longer. */
export function beginPatiently(lockTimeoutMs: number): string {
  return `BEGIN; SET LOCAL lock_timeout = ${lockTimeoutMs}`;
}

/**
 * For a session that applies batches. A batch's rows are found one by one by their key, and locked in that order: for a table
 * that is no hundred times larger, the planner would read all of it for every batch.
 */
export const FIND_ROWS_BY_KEY =
  'SET enable_hashjoin = off; SET enable_mergejoin = off; SET enable_seqscan = off';
