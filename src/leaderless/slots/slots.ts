import type { ConsensusReply } from '../../consensus/acceptor.ts';
import type { Ballot } from '../../consensus/ballot.ts';
import { decidePeek } from '../../consensus/read.ts';
import { keyId } from '../core/cells.ts';
import { RULES } from '../core/rules.ts';
import type { Rules } from '../core/rules.ts';
import { judgeDoubts } from '../core/slot-batch.ts';
import type { SlotChange, SlotState } from '../core/slot-batch.ts';
import { fromProposal, toVersionedValue } from '../core/slot-value.ts';
import type { NodeQueue } from '../nodes/node-queue.ts';
import { NodeFailure } from '../nodes/requests.ts';
import type { CollectionName } from '../nodes/requests.ts';
import type { Roster } from '../roster.ts';
import type { Runtime } from '../runtime.ts';
import { Slot } from './slot.ts';
import type { CallEnd, SlotContext } from './slot.ts';

/** Keys whose promise is kept; one that was let go costs one round trip more. */
const MAX_SLOTS = 50_000;
const HEDGE_MS = 20;

export interface SlotRead {
  readonly state: SlotState;
  readonly answeredBy: readonly string[];
}

/** Compare-and-set keys of all collections, as this process proposes for them. */
export class Slots {
  readonly #context: SlotContext;
  readonly #slots = new Map<string, Slot>();
  #turn = 0;

  constructor(roster: Roster, runtime: Runtime, promiseLifeMs: number, rules: Rules = RULES) {
    const counts = { rounds: 0, preempted: 0, failed: 0 };
    this.#context = { roster, runtime, promiseLifeMs, rules, proposer: runtime.uniqueName(), counts };
  }

  get counts(): Readonly<SlotContext['counts']> {
    return this.#context.counts;
  }

  /** Runs `change` on the value, in one order with everybody else's. It may run more than once, and counts once. */
  change(collection: CollectionName, key: string, change: SlotChange, deadlineMs: number): Promise<CallEnd> {
    const slot = this.#slotOf(collection, key);
    return new Promise((resolve) => slot.run(change, deadlineMs, resolve));
  }

  /**
   * The value, linearizable. Writes nothing when a quorum shows one accepted ballot; else a round runs that
   * changes nothing.
   */
  async read(collection: CollectionName, key: string, deadlineMs: number): Promise<SlotRead | CallEnd> {
    const startedAtMs = this.#context.runtime.monotonicMs();
    const seen = await this.#peek(collection, key, deadlineMs);
    if (seen !== null) return seen;
    const leftMs = deadlineMs - (this.#context.runtime.monotonicMs() - startedAtMs);
    const end = await this.change(collection, key, () => undefined, Math.max(1, leftMs));
    return end.kind === 'chosen' ? { state: end.result.state, answeredBy: end.answeredBy } : end;
  }

  /** Whether any of the ballots was chosen. Afterwards none of them can be any more. */
  async settle(
    collection: CollectionName,
    key: string,
    ballots: readonly Ballot[],
    deadlineMs: number,
  ): Promise<'applied' | 'not-applied' | 'unknown' | CallEnd> {
    // Not by peeking: what a quorum shows may be older than the doubtful ballots, which could still be chosen.
    let judged: 'applied' | 'not-applied' | 'unknown' = 'unknown';
    const slot = this.#slotOf(collection, key);
    slot.startAbove(ballots);
    const end = await new Promise<CallEnd>((resolve) => {
      slot.run(
        ({ version, value, lineage }) => {
          judged = judgeDoubts(ballots, toVersionedValue(version, value, lineage));
          return undefined;
        },
        deadlineMs,
        resolve,
      );
    });
    return end.kind === 'chosen' ? judged : end;
  }

  #peek(collection: CollectionName, key: string, deadlineMs: number): Promise<SlotRead | null> {
    const { roster, runtime, rules } = this.#context;
    // While members change, a round is surer than a rule for what two majorities show.
    if (!roster.isStable) return Promise.resolve(null);
    const { epoch, queues: nodes } = roster;
    const quorum = rules.majority(nodes.length);
    this.#turn = (this.#turn + 1) % nodes.length;
    const order = nodes
      .map((_, index) => nodes[(index + this.#turn) % nodes.length] as NodeQueue)
      .sort(
        (a, b) =>
          Number(a.silentMs() > HEDGE_MS * 2) - Number(b.silentMs() > HEDGE_MS * 2) ||
          Number(b.isUp) - Number(a.isUp),
      );
    return new Promise((resolve) => {
      const replies: ConsensusReply[] = [];
      const answeredBy: string[] = [];
      let asked = 0;
      let answered = 0;
      let isOver = false;
      const finish = (read: SlotRead | null): void => {
        if (isOver) return;
        isOver = true;
        cancelHedge();
        cancelDeadline();
        resolve(read);
      };
      const askNext = (): void => {
        const node = order[asked];
        if (node === undefined) return;
        asked += 1;
        node.ask({ kind: 'consensus', collection, key, message: { kind: 'peek', key }, epoch }, (reply) => {
          answered += 1;
          if (!(reply instanceof NodeFailure) && reply.kind === 'consensus') {
            replies.push(reply.reply);
            answeredBy.push(node.name);
          }
          const decision = decidePeek(replies, quorum);
          if (decision.kind === 'settled') {
            const { version } = decision.register;
            return finish({ state: { version, ...fromProposal(decision.register) }, answeredBy });
          }
          if (answered < asked || isOver) return;
          if (asked === order.length) finish(null);
          else askNext();
        });
      };
      // Where those that answered tell different things, a round is sooner done than one that is silent.
      const hedge = (): void => {
        if (asked === order.length && replies.length >= quorum) return finish(null);
        while (asked < order.length) askNext();
        cancelHedge = runtime.after(HEDGE_MS, hedge);
      };
      let cancelHedge = runtime.after(HEDGE_MS, hedge);
      const cancelDeadline = runtime.after(deadlineMs, () => finish(null));
      for (let index = 0; index < quorum; index++) askNext();
    });
  }

  #slotOf(collection: CollectionName, key: string): Slot {
    const id = keyId(collection.name, key);
    let slot = this.#slots.get(id);
    if (slot === undefined) {
      slot = new Slot(this.#context, collection, key);
      if (this.#slots.size >= MAX_SLOTS) this.#forgetSome();
    } else this.#slots.delete(id);
    // Last in the map: used last.
    this.#slots.set(id, slot);
    return slot;
  }

  #forgetSome(): void {
    for (const [id, slot] of this.#slots) {
      if (slot.isIdle) this.#slots.delete(id);
      if (this.#slots.size < MAX_SLOTS) return;
    }
  }
}
