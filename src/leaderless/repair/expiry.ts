import { TRIMMING_BEGINS, trimOn } from '../core/trimming.ts';
import type { Trimming } from '../core/trimming.ts';
import type { NodeQueue } from '../nodes/node-queue.ts';
import { NodeFailure } from '../nodes/requests.ts';
import type { Roster } from '../roster.ts';
import type { Runtime } from '../runtime.ts';
import { ask } from './ask.ts';

const EVERY_MS = 30_000;
/** Values that one statement frees; what is beyond waits for the next. */
const PAGE = 1_000;
/** Transactions whose names one statement looks at. */
const TRIM_PAGE = 200;
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
  readonly #trimmings = new Map<NodeQueue, Trimming>();
  #trimming: Promise<void> | null = null;
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
      void this.#run().finally(() => {
        if (!this.#isClosed) this.start();
      });
    });
  }

  close(): void {
    this.#isClosed = true;
    this.#cancel();
  }

  async #run(): Promise<void> {
    await this.purge();
    await this.trim();
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

  /** Takes out what no register is found by any more, where its change is looked up, at the nodes that can be reached. */
  async trim(): Promise<void> {
    this.#trimming ??= this.#trimAll().finally(() => (this.#trimming = null));
    await this.#trimming;
  }

  async #trimAll(): Promise<void> {
    const { queues } = this.#roster;
    for (const node of this.#trimmings.keys()) if (!queues.includes(node)) this.#trimmings.delete(node);
    await Promise.all(queues.filter(({ isUp }) => isUp).map((node) => this.#trimAt(node)));
  }

  async #trimAt(node: NodeQueue): Promise<void> {
    let isWhole = false;
    while (!isWhole && !this.#isClosed) {
      const trimming = this.#trimmings.get(node) ?? TRIMMING_BEGINS;
      const page = await ask(node, { kind: 'trim', from: trimming.from, limit: TRIM_PAGE });
      if (page?.kind !== 'trimmed') return;
      ({ isWhole } = page);
      this.#trimmings.set(node, trimOn(trimming, page));
    }
  }
}
