import type { Runtime } from '../../src/leaderless/runtime.ts';
import type { VirtualTime } from '../../src/testing/simulation/virtual-time.ts';

/** A process of a quorum that goes by this time. */
export function runtimeOf(time: VirtualTime): Runtime {
  return {
    nowMs: () => time.nowMs(),
    monotonicMs: () => time.nowMs(),
    after: (ms, run) => time.after(ms, run),
    soon: (run) => void time.after(0, run),
    random: () => 0.5,
    uniqueName: () => 'a',
  };
}
