import type { Topology } from '../model/topology.ts';
import { takeSample, walBytesPerSecond } from './core/sample.ts';
import type { LagSample } from './core/sample.ts';

/** Agents tell their positions about once a second: over a shorter time the rate would jump between 0 and double. */
const RATE_WINDOW_MS = 3000;
const LEAST_RATE_WINDOW_MS = 1000;

/** A sample with the leader's write rate over up to three seconds before it. */
export interface HistorySample extends LagSample {
  /** Null where the difference of two positions means nothing, see {@link walBytesPerSecond}. */
  readonly walBytesPerSecond: number | null;
}

/** The last minutes of a cluster's lag, so that a page that opens now shows what just happened. */
export interface History {
  /** Adds one sample and forgets the oldest when full. */
  record(topology: Topology | null, at: number): HistorySample;
  /** Oldest first. */
  samples(): readonly HistorySample[];
}

/** A history that never holds more than `capacity` samples. */
export function createHistory(capacity: number): History {
  const samples: HistorySample[] = [];
  return {
    record(topology, at) {
      const bare = takeSample(topology, at);
      const rates = samples
        .filter((other) => at - other.at >= LEAST_RATE_WINDOW_MS && at - other.at <= RATE_WINDOW_MS)
        .map((other) => walBytesPerSecond(other, bare));
      const sample = { ...bare, walBytesPerSecond: rates.find((rate) => rate !== null) ?? null };
      samples.push(sample);
      if (samples.length > capacity) samples.shift();
      return sample;
    },
    samples: () => [...samples],
  };
}
