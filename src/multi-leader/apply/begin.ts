/** Begins a transaction that fails where it would wait for a lock for longer. */
export function beginPatiently(lockTimeoutMs: number): string {
  return `BEGIN; SET LOCAL lock_timeout = ${lockTimeoutMs}`;
}
