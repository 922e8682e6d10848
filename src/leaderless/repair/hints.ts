import { keyId } from '../core/cells.ts';
import type { NodeQueue } from '../nodes/node-queue.ts';
import { NodeFailure } from '../nodes/requests.ts';
import type { Hint, NotedHint } from '../nodes/requests.ts';
import type { MissedKey } from '../write.ts';
import type { Roster } from '../roster.ts';
import type { Runtime } from '../runtime.ts';
import { ask } from './ask.ts';

const FLUSH_MS = 50;
const REPLAY_MS = 500;
/** Keys that are brought to a node at once: the next ones wait until it has these. */
const PAGE = 256;
/** Keys that wait to be noted. What is beyond is left to catch-up. */
const MAX_WAITING = 20_000;

/**
 * Hinted handoff. A key that a node missed is noted at a node that has it, and brought over when the node is there again. A
 * hint holds no data, so that it is small, cannot be old, and may be lost: then catch-up finds the key.
 */
export class Hints {
  readonly #roster: Roster;
  readonly #runtime: Runtime;
  readonly #waiting = new Map<string, { readonly hint: Hint; readonly holder: NodeQueue }>();
  #isFlushing = false;
  #isClosed = false;
  #cancelReplay: () => void = () => undefined;
  readonly counts: { noted: number; replayed: number; leftToCatchUp: number } = {
    noted: 0,
    replayed: 0,
    leftToCatchUp: 0,
  };

  constructor(roster: Roster, runtime: Runtime) {
    this.#roster = roster;
    this.#runtime = runtime;
  }

  start(): void {
    this.#cancelReplay = this.#runtime.after(REPLAY_MS * (0.5 + this.#runtime.random()), () => {
      void this.#replayAll().finally(() => {
        if (!this.#isClosed) this.start();
      });
    });
  }

  close(): void {
    this.#isClosed = true;
    this.#cancelReplay();
  }

  readonly onMissed: MissedKey = ({ node, holder, collection, store, key }) => {
    const target = this.#roster.nodes.find(({ queue }) => queue === node)?.id() ?? null;
    if (holder === null || target === null || this.#waiting.size >= MAX_WAITING) {
      this.counts.leftToCatchUp += 1;
      return;
    }
    const id = `${target} ${store} ${keyId(collection.name, key)}`;
    this.#waiting.set(id, { hint: { target, store, collection, key }, holder });
    if (this.#isFlushing) return;
    this.#isFlushing = true;
    this.#runtime.after(FLUSH_MS, () => this.#flush());
  };

  #flush(): void {
    this.#isFlushing = false;
    const waiting = [...this.#waiting.values()];
    this.#waiting.clear();
    for (const { hint, holder } of waiting) {
      holder.ask({ kind: 'hint', hint }, (reply) => {
        if (reply instanceof NodeFailure) this.counts.leftToCatchUp += 1;
        else this.counts.noted += 1;
      });
    }
  }

  async #replayAll(): Promise<void> {
    for (const target of this.#roster.nodes) {
      const id = target.id();
      if (id === null || !target.queue.isUp) continue;
      for (const holder of this.#roster.nodes) {
        if (holder === target || !holder.queue.isUp) continue;
        await this.#replay(target.queue, id, holder.queue);
      }
    }
  }

  /** Page after page, as fast as the target takes them. */
  async #replay(target: NodeQueue, id: string, holder: NodeQueue): Promise<void> {
    for (;;) {
      const taken = await ask(holder, { kind: 'take-hints', target: id, limit: PAGE });
      if (taken?.kind !== 'hints' || taken.hints.length === 0) return;
      const brought = await Promise.all(taken.hints.map((hint) => this.#bring(hint, holder, target)));
      const done = taken.hints.filter((_, index) => brought[index]);
      if (done.length > 0) await ask(holder, { kind: 'drop-hints', hints: done });
      this.counts.replayed += done.length;
      if (done.length < PAGE || this.#isClosed) return;
    }
  }

  async #bring(hint: NotedHint, holder: NodeQueue, target: NodeQueue): Promise<boolean> {
    const { collection, store, key } = hint;
    const found = await ask(holder, { kind: 'read', collection, store, key });
    if (found?.kind !== 'cells') return false;
    const merged = await ask(target, {
      kind: 'merge',
      collection,
      store,
      cells: found.cells,
      isRepair: true,
    });
    return merged !== null;
  }
}
