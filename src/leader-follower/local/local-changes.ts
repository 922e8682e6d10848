import { Sequence } from '../../model/sequence.ts';
import type { NodeState } from '../../model/topology.ts';

/** Of what is told of a failure. */
const LONGEST_FAILURE = 500;

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
  /** Why the last change failed; told until one succeeds, also while it is tried again. */
  #failure: string | null = null;

  constructor(isRunning: () => boolean) {
    this.#isRunning = isRunning;
  }

  /** `state` is shown while it lasts; null for what is over in a moment. */
  run<T>(state: NodeState | null, detail: string | null, task: () => Promise<T>): Promise<T> {
    const run = async (): Promise<T> => {
      if (state === null) return task();
      this.activity = { state, detail: detail ?? this.#failure };
      try {
        const result = await task();
        this.#failure = null;
        return result;
      } catch (error) {
        this.#failure = failureOf(error);
        throw error;
      } finally {
        const isRunning = this.#isRunning();
        this.activity = {
          state: isRunning ? 'running' : 'stopped',
          detail: isRunning ? null : this.#failure,
        };
      }
    };
    return this.#changes.run(run);
  }

  /** Resolves when those asked for so far are over. */
  untilDone(): Promise<void> {
    return this.#changes.whenIdle();
  }
}

/** What was given up on purpose did not fail. */
function failureOf(error: unknown): string | null {
  if (!(error instanceof Error) || error.name === 'AbortError') return null;
  return error.message.slice(0, LONGEST_FAILURE);
}
