import type { HedgeDelay } from '../../app/options.ts';

/** At most this share of reads is sent twice: a second copy must not bury followers that are late anyway. */
const EXTRA_SHARE = 0.05;

/** Copies that a quiet time allows at once. */
const MAX_SAVED = 10;

/** How far one answer moves the estimate, as a share of it. */
const STEP = 0.05;
const QUANTILE = 0.95;

/** Above what any follower needs that merely has much to do. */
const SHORTEST_DELAY_MS = 1;

/** What has been seen so far of how long reads take, and how many copies may still be sent. */
export interface HedgeState {
  /** 0 while no read was answered. */
  readonly p95Ms: number;
  readonly saved: number;
}

/** A pool's first read has nothing to compare with. */
export const NO_HEDGES: HedgeState = { p95Ms: 0, saved: 1 };

/** After a read was sent. */
export function countRead(state: HedgeState): HedgeState {
  return { ...state, saved: Math.min(state.saved + EXTRA_SHARE, MAX_SAVED) };
}

/**
 * After a read was answered: one step up or down, such that the estimate stands still when 95% of answers
 * are below it. Source: Ma, Muthukrishnan, Sandler, "Frugal Streaming for Estimating Quantiles", 2013.
 */
export function recordAnswer(state: HedgeState, tookMs: number): HedgeState {
  if (state.p95Ms === 0) return { ...state, p95Ms: Math.max(tookMs, SHORTEST_DELAY_MS) };
  const factor = tookMs > state.p95Ms ? 1 + STEP * QUANTILE : 1 - STEP * (1 - QUANTILE);
  return { ...state, p95Ms: Math.max(state.p95Ms * factor, SHORTEST_DELAY_MS) };
}

/** How long to wait before a copy is sent; null when it cannot be told yet. */
export function hedgeDelayMs(state: HedgeState, delay: HedgeDelay): number | null {
  if (delay !== 'p95') return delay;
  return state.p95Ms === 0 ? null : state.p95Ms;
}

/** The state after a copy was sent; null when none may be sent now. */
export function spendHedge(state: HedgeState): HedgeState | null {
  return state.saved < 1 ? null : { ...state, saved: state.saved - 1 };
}
