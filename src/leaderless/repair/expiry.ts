import type { NodeQueue } from '../nodes/node-queue.ts';
import { NodeFailure } from '../nodes/requests.ts';
import type { Roster } from '../roster.ts';
import type { Runtime } from '../runtime.ts';

const EVERY_MS = 30_000;
/** Values that one statement frees; what is beyond waits for the next. */
const PAGE = 1_000;
/** Longer than two clocks of machines that are kept in time differ. */
const MARGIN_MS = 60_000;

/**
 * Frees values whose life has ended, at each node for itself. Reads pass them over from the moment it ended, so that it matters only
 * for space. What is left is the same write without its value: nothing that is brought over later can undo it.
 */
export class Expiry {
  readonly #roster: Roster;
  readonly #runtime: Runtime;
  readonly #marginMs: number;
  #isClosed = false;
  #cancel: () => void = () => undefined;
  purged = 0;

  constructor(roster: Roster, runtime: Runtime, maxClockAheadMs: number) {
    this.#roster = roster;
    this.#runtime = runtime;
    this.#marginMs = MARGIN_MS + maxClockAheadMs;
  }

  start(): void {
    this.#cancel = this.#runtime.after(EVERY_MS * (0.5 + this.#runtime.random()), () => {
      void this.purge().finally(() => {
        if (!this.#isClosed) this.start();
      });
    });
  }

  close(): void {
    this.#isClosed = true;
    this.#cancel();
  }

  /** Frees all that ended at the nodes that can be reached. */
  async purge(): Promise<void> {
    await Promise.all(this.#roster.queues.filter(({ isUp }) => isUp).map((node) => this.#purgeAt(node)));
  }

  async #purgeAt(node: NodeQueue): Promise<void> {
    let freed = PAGE;
    while (freed >= PAGE && !this.#isClosed) {
      freed = await new Promise<number>((resolve) => {
        const beforeMs = this.#runtime.nowMs() - this.#marginMs;
        node.ask({ kind: 'purge', beforeMs, limit: PAGE }, (reply) =>
          resolve(reply instanceof NodeFailure || reply.kind !== 'purged' ? 0 : reply.count),
        );
      });
      this.purged += freed;
    }
  }
}
