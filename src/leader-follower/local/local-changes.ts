import { Sequence } from '../../model/sequence.ts';
import type { NodeState } from '../../model/topology.ts';

/** What it is doing, for people. */
export interface Activity {
  readonly state: NodeState;
  readonly detail: string | null;
}

/** Changes to the local PostgreSQL, run one after the other whoever asks, and what people see meanwhile. */
export class LocalChanges {
  readonly #isRunning: () => boolean;
  readonly #changes = new Sequence();
  activity: Activity = { state: 'stopped', detail: null };

  constructor(isRunning: () => boolean) {
    this.#isRunning = isRunning;
  }

  /** `state` is shown while it lasts; null for what is over in a moment. */
  run<T>(state: NodeState | null, detail: string | null, task: () => Promise<T>): Promise<T> {
    const run = async (): Promise<T> => {
      if (state !== null) this.activity = { state, detail };
      try {
        return await task();
      } finally {
        if (state !== null) {
          this.activity = { state: this.#isRunning() ? 'running' : 'stopped', detail: null };
        }
      }
    };
    return this.#changes.run(run);
  }

  /** Resolves when those asked for so far are over. */
  untilDone(): Promise<void> {
    return this.#changes.whenIdle();
  }
}
