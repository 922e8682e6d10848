import { keyId } from '../core/cells.ts';
import type { Cell, Store } from '../core/cells.ts';
import type { NodeQueue } from '../nodes/node-queue.ts';
import type { CollectionName, NodeReply } from '../nodes/requests.ts';
import type { KnownNode, Roster } from '../roster.ts';
import type { Runtime } from '../runtime.ts';
import { ask } from './ask.ts';

const STORES: readonly Store[] = ['registers', 'tallies'];
/** Changes that are compared at once; the next ones wait for these. */
const PAGE = 2_000;
const LOOK_MS = 500;

type Reply<K extends NodeReply['kind']> = Extract<NodeReply, { kind: K }>;

/**
 * Brings each node what it lacks of what the others changed since it looked last: each node numbers its changes, and each remembers
 * how far it has seen the others'. So the cost follows what changed, not what there is. Runs now and then, and at once for a
 * node that comes back. Everything it does may be done twice, by several processes.
 */
export class CatchUp {
  readonly #roster: Roster;
  readonly #runtime: Runtime;
  readonly #everyMs: number;
  readonly #prepare: () => Promise<void>;
  readonly #wasUp = new Map<KnownNode, boolean>();
  #lastMs: number;
  #isClosed = false;
  #cancel: () => void = () => undefined;
  readonly counts: { compared: number; brought: number } = { compared: 0, brought: 0 };

  /** `prepare`: makes less of what there is to look through; awaited now and then, before all are looked at. */
  constructor(
    roster: Roster,
    runtime: Runtime,
    everyMs: number,
    prepare: () => Promise<void> = () => Promise.resolve(),
  ) {
    this.#prepare = prepare;
    this.#roster = roster;
    this.#runtime = runtime;
    this.#everyMs = everyMs;
    this.#lastMs = runtime.monotonicMs();
  }

  start(): void {
    const delayMs = Math.min(LOOK_MS, this.#everyMs) * (0.5 + this.#runtime.random());
    this.#cancel = this.#runtime.after(delayMs, () => {
      void this.#look().finally(() => {
        if (!this.#isClosed) this.start();
      });
    });
  }

  close(): void {
    this.#isClosed = true;
    this.#cancel();
  }

  async #look(): Promise<void> {
    const nowMs = this.#runtime.monotonicMs();
    const isDue = nowMs - this.#lastMs >= this.#everyMs;
    if (isDue) {
      this.#lastMs = nowMs;
      await this.#prepare();
    }
    for (const target of this.#roster.nodes) {
      const { isUp } = target.queue;
      const isBack = isUp && this.#wasUp.get(target) === false;
      this.#wasUp.set(target, isUp);
      if (isUp && (isBack || isDue)) await this.bringUpToDate(target);
    }
  }

  /** Brings one node all that it lacks of what the others that can be reached changed. */
  async bringUpToDate(target: KnownNode): Promise<void> {
    for (const source of this.#roster.nodes) {
      if (source === target || !source.queue.isUp) continue;
      for (const store of STORES) await this.#follow(source, target.queue, store);
    }
  }

  async #follow(source: KnownNode, target: NodeQueue, store: Store): Promise<void> {
    const id = source.id();
    if (id === null) return;
    const seen = await ask(target, { kind: 'seen', source: id, store });
    if (seen?.kind !== 'seen') return;
    const known = await this.#compare(source.queue, target, store, seen);
    if (known !== null) {
      const { next, isLevel } = known;
      if (next > seen.seen) await ask(target, { kind: 'note-seen', source: id, store, seen: next, isLevel });
      return;
    }
    let from = seen.seen;
    while (!this.#isClosed) {
      const page = await ask(source.queue, { kind: 'changes', store, from, limit: PAGE });
      if (page?.kind !== 'changes') return;
      if (!(await this.#bring(source.queue, target, store, page))) return;
      if (page.next > from) {
        // Only now: what is noted as seen is never looked at again.
        const noted = await ask(target, {
          kind: 'note-seen',
          source: id,
          store,
          seen: page.next,
          isLevel: page.isWhole,
        });
        if (noted === null) return;
        from = page.next;
      }
      if (page.isWhole) return;
    }
  }

  /**
   * Compares digests of what the source changed since it was seen, and of what the target did since it had all of the other's: most often
   * both did the same, by the same writes or because this one was brought them. Gives below which number the target
   * has everything; null when what differs is to be looked for.
   */
  async #compare(
    source: NodeQueue,
    target: NodeQueue,
    store: Store,
    { seen, own }: Reply<'seen'>,
  ): Promise<{ readonly next: number; readonly isLevel: boolean } | null> {
    const seed = Math.floor(this.#runtime.random() * Number.MAX_SAFE_INTEGER);
    const told = await ask(source, { kind: 'digest', store, from: seen, limit: PAGE, seed });
    if (told?.kind !== 'digest' || told.digest === null) return null;
    if (told.count === 0) return { next: told.next, isLevel: false };
    const mine = await ask(target, { kind: 'digest', store, from: own, limit: PAGE, seed });
    if (mine?.kind !== 'digest' || mine.digest !== told.digest) return null;
    return { next: told.next, isLevel: true };
  }

  /** Whether the target has everything of this page now. */
  async #bring(
    source: NodeQueue,
    target: NodeQueue,
    store: Store,
    { changes }: Reply<'changes'>,
  ): Promise<boolean> {
    if (changes.length === 0) return true;
    this.counts.compared += changes.length;
    const found = await ask(target, { kind: 'lacking', store, cells: changes.map(({ cell }) => cell) });
    if (found?.kind !== 'cells') return false;
    const keys = new Map<string, { readonly collection: CollectionName; readonly key: string }>();
    const kinds = new Map(changes.map(({ collection }) => [collection.name, collection]));
    for (const { collection: name, key } of found.cells) {
      const collection = kinds.get(name);
      if (collection !== undefined) keys.set(keyId(name, key), { collection, key });
    }
    const brought = await Promise.all(
      [...keys.values()].map(async ({ collection, key }) => {
        const whole = await ask(source, { kind: 'read', collection, store, key });
        if (whole?.kind !== 'cells') return false;
        const cells: readonly Cell[] = whole.cells;
        return (await ask(target, { kind: 'merge', collection, store, cells, isRepair: true })) !== null;
      }),
    );
    this.counts.brought += found.cells.length;
    return brought.every(Boolean);
  }
}
