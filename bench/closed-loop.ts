import { percentile } from './statistics.ts';

/** What one contestant did in one round. */
export interface RoundReport {
  readonly operations: number;
  readonly operationsPerSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** The workload's own figures. */
  readonly counters: Readonly<Record<string, number>>;
}

/** What a contestant runs, in a process of its own. */
export interface Workload {
  round(durationMs: number): Promise<RoundReport>;
  end(): Promise<void>;
}

/** Allocated once: recording must not make garbage. */
const latencies = new Float64Array(1_000_000);

/** Collects latencies without allocating; operations beyond its room count, but leave no latency. */
export class LatencyRecord {
  #count = 0;

  add(ms: number): void {
    if (this.#count < latencies.length) latencies[this.#count] = ms;
    this.#count += 1;
  }

  get count(): number {
    return this.#count;
  }

  report(elapsedMs: number, counters: Readonly<Record<string, number>>): RoundReport {
    const sorted = latencies.subarray(0, Math.min(this.#count, latencies.length)).sort();
    return {
      operations: this.#count,
      operationsPerSecond: (this.#count * 1_000) / elapsedMs,
      p50Ms: percentile(sorted, 0.5),
      p99Ms: percentile(sorted, 0.99),
      counters,
    };
  }
}

/** So many callers, each starting its next operation when its last has ended. */
export async function runClosedLoop(
  callers: number,
  durationMs: number,
  operation: (caller: number) => Promise<unknown>,
  readCounters: () => Readonly<Record<string, number>> = () => ({}),
): Promise<RoundReport> {
  const record = new LatencyRecord();
  const startedAtMs = performance.now();
  const deadlineMs = startedAtMs + durationMs;
  const runCaller = async (caller: number): Promise<void> => {
    let beforeMs = performance.now();
    while (beforeMs < deadlineMs) {
      await operation(caller);
      const afterMs = performance.now();
      record.add(afterMs - beforeMs);
      beforeMs = afterMs;
    }
  };
  await Promise.all(Array.from({ length: callers }, (_, caller) => runCaller(caller)));
  return record.report(performance.now() - startedAtMs, readCounters());
}
