/** Counts what happens in a sale, on a monotonic clock that callers pass in. */
export interface FiguresSnapshot {
  readonly orders: number;
  readonly limitedSold: number;
  readonly soldOut: number;
  readonly reads: number;
  readonly reviews: number;
  readonly staleViews: number;
  readonly retries: number;
  readonly failures: number;
  readonly shoppersDone: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly operationsPerSecond: number;
  readonly unavailableMs: number;
}

export type Counter =
  'limitedSold' | 'soldOut' | 'reads' | 'reviews' | 'staleViews' | 'retries' | 'failures' | 'shoppersDone';

/**
 * Unavailability is the longest time in which at least one order was waiting and none was acknowledged: it
 * starts at the last acknowledgement, or when the first order began to wait after a time without any, and
 * ends at the next acknowledgement. With a fault it counts only such times that ended after the fault.
 */
export class Figures {
  readonly #counts: Record<Counter, number> = {
    limitedSold: 0,
    soldOut: 0,
    reads: 0,
    reviews: 0,
    staleViews: 0,
    retries: 0,
    failures: 0,
    shoppersDone: 0,
  };
  readonly #orderMs: number[] = [];
  readonly #startedAtMs: number;
  #waiting = 0;
  #silentSinceMs = 0;
  #longestSilenceMs = 0;
  #endedAtMs: number | null = null;

  constructor(nowMs: number) {
    this.#startedAtMs = nowMs;
  }

  count(counter: Counter): void {
    this.#counts[counter] += 1;
  }

  /** The fault happens: what was slow before is no longer of interest. */
  markFault(): void {
    this.#longestSilenceMs = 0;
  }

  orderStarted(nowMs: number): void {
    if (this.#waiting === 0) this.#silentSinceMs = nowMs;
    this.#waiting += 1;
  }

  /** The order was acknowledged to its buyer. */
  orderPlaced(startedAtMs: number, nowMs: number): void {
    this.#waiting -= 1;
    this.#orderMs.push(nowMs - startedAtMs);
    this.#longestSilenceMs = Math.max(this.#longestSilenceMs, nowMs - this.#silentSinceMs);
    this.#silentSinceMs = nowMs;
  }

  /** The order ended without one: sold out, declined, or given up. */
  orderRefused(): void {
    this.#waiting -= 1;
  }

  end(nowMs: number): void {
    this.#endedAtMs = nowMs;
  }

  snapshot(nowMs: number): FiguresSnapshot {
    const orders = this.#orderMs.length;
    const { reads, reviews, soldOut } = this.#counts;
    const seconds = Math.max(0.001, ((this.#endedAtMs ?? nowMs) - this.#startedAtMs) / 1000);
    const sorted = this.#orderMs.toSorted((a, b) => a - b);
    return {
      ...this.#counts,
      orders,
      p50Ms: percentile(sorted, 0.5),
      p99Ms: percentile(sorted, 0.99),
      operationsPerSecond: (orders + reads + reviews + soldOut) / seconds,
      unavailableMs: this.#longestSilenceMs,
    };
  }
}

/** Nearest rank on a sorted list; 0 when it is empty. */
export function percentile(sorted: readonly number[], fraction: number): number {
  return sorted[Math.min(sorted.length - 1, Math.max(0, Math.ceil(sorted.length * fraction) - 1))] ?? 0;
}
