import { Sequence } from '../../model/sequence.ts';
import type { NodeState } from '../../model/topology.ts';
import { failureWords } from './core/room-alarm.ts';

/** Of what is told of a failure. */
const LONGEST_FAILURE = 500;

/** What it is doing, for people. */
export interface Activity {
  readonly state: NodeState;
  readonly detail: string | null;
}

interface ChangedNode {
  readonly dataDir: string;
  readonly server: { readonly isRunning: boolean };
}

/** Changes to the local PostgreSQL, run one after the other whoever asks, and what people see meanwhile. */
export class LocalChanges {
  readonly #node: ChangedNode;
  readonly #changes = new Sequence();
  activity: Activity = { state: 'stopped', detail: null };
  /** Why the last change failed; told until one succeeds, also while it is tried again. */
  #failure: string | null = null;

  constructor(node: ChangedNode) {
    this.#node = node;
  }

  /** PostgreSQL ended by itself. */
  ended(reason: string): void {
    this.activity = { state: 'stopped', detail: failureWords(reason, this.#node.dataDir) };
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
        this.#failure = failureOf(error, this.#node.dataDir);
        throw error;
      } finally {
        const isRunning = this.#node.server.isRunning;
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
function failureOf(error: unknown, folder: string): string | null {
  if (!(error instanceof Error) || error.name === 'AbortError') return null;
  return failureWords(error.message, folder).slice(0, LONGEST_FAILURE);
}
