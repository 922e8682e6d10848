/**
 * Time and timers, given to whatever waits, so that a simulation can run the code that ships under a time of
 * its own. Milliseconds on a monotonic clock: they only ever grow, and mean nothing on another machine.
 */
export interface Clock {
  nowMs(): number;
  /** Runs once, that much later. It keeps no process alive unless that is asked for. Returns what calls it off. */
  after(ms: number, run: () => void, keepsProcess?: boolean): () => void;
  /** Resolves that much later, or sooner when the signal is aborted. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
}
