/**
 * Leases over a register that holds no timestamp. Both sides count on their own monotonic clock (I1): the
 * holder from *before* it sent the write that renewed it, a challenger from when it first saw that write,
 * and the challenger waits longer by a margin that covers twice the drift between the two clocks. So the
 * holder always stops first.
 */
export interface HolderLease {
  /** When the write that the lease rests on was sent. */
  readonly sentAtMs: number;
  readonly deadlineMs: number;
}

/** 10% is ample: quartz clocks drift by less than 0.1%. */
export const DRIFT_MARGIN = 1.1;

/**
 * `sentAtMs`: the clock before the write that was applied had been sent. The write sent last counts alone,
 * as it does for challengers: a lower `ttlMs` shortens the lease.
 */
export function renewHolderLease(lease: HolderLease | null, sentAtMs: number, ttlMs: number): HolderLease {
  if (lease !== null && lease.sentAtMs > sentAtMs) return lease;
  return { sentAtMs, deadlineMs: sentAtMs + ttlMs };
}

/** What a challenger has seen: the nonce of another's lease, and when it saw it first. */
export interface LeaseObservation {
  readonly nonce: string;
  readonly ttlMs: number;
  readonly firstSeenAtMs: number;
}

/** Keeps the first sight of a nonce; a new nonce starts the wait anew. */
export function observeLease(
  previous: LeaseObservation | null,
  seen: { readonly nonce: string; readonly ttlMs: number },
  nowMs: number,
): LeaseObservation {
  if (previous !== null && previous.nonce === seen.nonce) return previous;
  return { nonce: seen.nonce, ttlMs: seen.ttlMs, firstSeenAtMs: nowMs };
}

/** How long ago a challenger may have taken the lease; 0 while it must not. */
export function expiredForMs(observation: LeaseObservation, nowMs: number): number {
  return Math.max(0, nowMs - observation.firstSeenAtMs - observation.ttlMs * DRIFT_MARGIN);
}
