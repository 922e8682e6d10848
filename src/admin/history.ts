import type { Topology } from '../model/topology.ts';
import { takeSample, walBytesPerSecond } from './core/sample.ts';
import type { LagSample } from './core/sample.ts';

/** A sample with the leader's write rate since the one before it. */
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
      const sample = { ...bare, walBytesPerSecond: walBytesPerSecond(samples.at(-1), bare) };
      samples.push(sample);
      if (samples.length > capacity) samples.shift();
      return sample;
    },
    samples: () => [...samples],
  };
}
