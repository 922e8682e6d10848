import type { Store } from '../core/cells.ts';
import { sealAt } from '../core/collecting.ts';
import { RULES } from '../core/rules.ts';
import type { Rules } from '../core/rules.ts';
import type { NodeReply } from '../nodes/requests.ts';
import type { KnownNode, Roster } from '../roster.ts';
import type { Runtime } from '../runtime.ts';
import { ask } from './ask.ts';
import type { CatchUp } from './catch-up.ts';
import { eraseSlots } from './erase.ts';

const PAGE = 500;
/** A process goes on for so many pages; the rest is left for the next time. */
const MAX_PAGES = 200;

type Sealed = Extract<NodeReply, { kind: 'sealed' }>;

interface SealedNode {
  readonly node: KnownNode;
  readonly id: string;
  readonly sealed: Sealed;
}

export interface CollectOptions {
  /** For how long what was deleted is kept at least. */
  readonly keepMs: number;
  /** How often it is tried to forget some. */
  readonly everyMs: number;
}

/**
 * Forgets what was deleted, by a watermark. Every node seals a time: nothing new is taken that is older. When each has seen all that the
 * others had taken by then, all know of every deletion up to the seal, and each forgets those of its own that the others have seen.
 * From then on it drops old states of cells that it does not have. Needs all nodes, and that they do not change; runs in any process, and may run in several.
 */
export class Collector {
  readonly #roster: Roster;
  readonly #runtime: Runtime;
  readonly #catchUp: CatchUp;
  readonly #options: CollectOptions;
  readonly #rules: Rules;
  #isClosed = false;
  #cancel: () => void = () => undefined;
  readonly counts: { forgotten: number; erased: number } = { forgotten: 0, erased: 0 };

  constructor(
    roster: Roster,
    runtime: Runtime,
    catchUp: CatchUp,
    options: CollectOptions,
    rules: Rules = RULES,
  ) {
    this.#roster = roster;
    this.#runtime = runtime;
    this.#catchUp = catchUp;
    this.#options = options;
    this.#rules = rules;
  }

  start(): void {
    const delayMs = this.#options.everyMs * (0.5 + this.#runtime.random());
    this.#cancel = this.#runtime.after(delayMs, () => {
      void this.collect().finally(() => {
        if (!this.#isClosed) this.start();
      });
    });
  }

  close(): void {
    this.#isClosed = true;
    this.#cancel();
  }

  /** One attempt: does nothing unless every node answers. */
  async collect(): Promise<void> {
    const { nodes, epoch, isStable } = this.#roster;
    if (!isStable || nodes.some(({ queue }) => !queue.isUp)) return;
    const { keepMs } = this.#options;
    const at = sealAt(this.#runtime.nowMs(), keepMs);
    const sealed = await Promise.all(
      nodes.map(async (node): Promise<SealedNode | null> => {
        const id = node.id();
        const reply = await ask(node.queue, { kind: 'seal', at, keepMs, epoch });
        return id === null || reply?.kind !== 'sealed' ? null : { node, id, sealed: reply };
      }),
    );
    const all = sealed.filter((node) => node !== null);
    if (all.length < nodes.length || this.#isClosed) return;
    const confirmed = await this.#confirm(all);
    if (confirmed === null) return;
    const floor = Math.min(...all.map((node) => node.sealed.at));
    await Promise.all(
      all.map(({ node, id }) =>
        this.#forget(node, epoch, floor, confirmed.get(id) ?? { registers: 0, tallies: 0 }),
      ),
    );
    this.counts.erased += await eraseSlots(
      { nodes: nodes.map(({ queue }) => queue), epoch },
      this.#runtime,
      this.#rules,
      keepMs,
    );
  }

  /** Up to which of each node's change numbers all the others have seen; null unless everything sealed is seen by all. */
  async #confirm(
    nodes: readonly SealedNode[],
  ): Promise<ReadonlyMap<string, Readonly<Record<Store, number>>> | null> {
    const confirmed = new Map<string, Record<Store, number>>();
    for (const target of nodes) await this.#catchUp.bringUpToDate(target.node);
    for (const source of nodes) {
      const others = nodes.filter((target) => target !== source);
      const [registers, tallies] = await Promise.all(
        (['registers', 'tallies'] as const).map(async (store) => {
          const seen = await Promise.all(
            others.map(async ({ node }) => {
              const reply = await ask(node.queue, { kind: 'seen', source: source.id, store });
              return reply?.kind === 'seen' ? reply.seen : 0;
            }),
          );
          return this.#rules.confirmedBy(seen);
        }),
      );
      if (registers === undefined || tallies === undefined) return null;
      if (Math.min(registers, tallies) < source.sealed.next) return null;
      confirmed.set(source.id, { registers, tallies });
    }
    return confirmed;
  }

  async #forget(
    { queue }: KnownNode,
    epoch: number,
    floor: number,
    confirmed: Readonly<Record<Store, number>>,
  ): Promise<void> {
    for (let page = 0; page < MAX_PAGES && !this.#isClosed; page++) {
      const reply = await ask(queue, { kind: 'collect', floor, confirmed, limit: PAGE, epoch });
      if (reply?.kind !== 'forgotten') return;
      this.counts.forgotten += reply.count;
      if (reply.count === 0) return;
    }
  }
}
