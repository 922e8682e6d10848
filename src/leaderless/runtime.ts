import { randomBytes } from 'node:crypto';

/** Clock, timers and randomness, so that a simulation can stand in for them. */
export interface Runtime {
  /** Wall clock, ms since 1970; may jump. */
  nowMs(): number;
  /** Never goes back. */
  monotonicMs(): number;
  /** Calls back once, later; returns what takes that back. */
  after(delayMs: number, run: () => void): () => void;
  /** Calls back after what is running now, and what that starts. */
  soon(run: () => void): void;
  /** From 0 to below 1. */
  random(): number;
  /** 12 characters out of letters, digits, `-` and `_` that nobody else ever gets. */
  uniqueName(): string;
}

export const systemRuntime: Runtime = {
  nowMs: () => Date.now(),
  monotonicMs: () => performance.now(),
  after(delayMs, run) {
    const timer = setTimeout(run, delayMs);
    return () => clearTimeout(timer);
  },
  soon: (run) => void setImmediate(run),
  random: () => Math.random(),
  uniqueName: () => randomBytes(9).toString('base64url'),
};
