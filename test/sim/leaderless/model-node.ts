import { stepAcceptor } from '../../../src/consensus/acceptor.ts';
import type { AcceptorState } from '../../../src/consensus/acceptor.ts';
import { cellId, covers, keyId } from '../../../src/leaderless/core/cells.ts';
import type { Cell } from '../../../src/leaderless/core/cells.ts';
import type { Watermarks } from '../../../src/leaderless/core/collecting.ts';
import { hlcOfMs } from '../../../src/leaderless/core/hlc.ts';
import type { Membership } from '../../../src/leaderless/core/membership.ts';
import { fromProposal, learnAccepted } from '../../../src/leaderless/core/slot-value.ts';
import { NodeFailure } from '../../../src/leaderless/nodes/requests.ts';
import type {
  ErasableSlot,
  NodeReply,
  NodeRequest,
  NotedHint,
} from '../../../src/leaderless/nodes/requests.ts';
import type { NodeRules } from './node-rules.ts';

/** What a node has on disk: the model of the tables and functions in src/leaderless/nodes/schema.ts. */
interface Disk {
  readonly cells: Map<string, Map<string, Cell>>;
  readonly slots: Map<string, SlotRow>;
  readonly hints: Map<string, NotedHint>;
  /** The transaction that changed a cell last, by store, key and cell. */
  readonly changes: Map<string, { readonly number: number; readonly cell: Cell }>;
  readonly seen: Map<string, number>;
  /** By the same names: the own number about when the node had all of the other's. */
  readonly own: Map<string, number>;
  readonly marks: Map<'sealed' | 'floor' | 'slotFloor', number>;
}

interface SlotRow extends AcceptorState {
  readonly collection: { readonly name: string; readonly kind: 'cas' };
  readonly key: string;
  readonly deletedAtMs: number | null;
}

/** As SQLSTATE LS001 says it. */
export const OTHER_EPOCH = 'this node goes by other members';

/** One server. A statement takes effect at once, as its commit does, and survives a crash. */
export class ModelNode {
  readonly name: string;
  membership: Membership;
  /** Never comes back: its disk is gone. */
  isLost = false;
  readonly #rules: NodeRules;
  readonly #nowMs: () => number;
  readonly #disk: Disk = {
    cells: new Map(),
    slots: new Map(),
    hints: new Map(),
    changes: new Map(),
    seen: new Map(),
    own: new Map(),
    marks: new Map(),
  };
  /** How to take back what is not on disk yet, newest last. */
  readonly #unsynced: (() => void)[] = [];
  #transactions = 0;
  readonly #running = new Set<number>();
  isUp = true;
  forgotten = 0;
  erased = 0;
  /** Counts crashes: what was under way before one is not done. */
  life = 0;

  constructor(name: string, membership: Membership, rules: NodeRules, nowMs: () => number) {
    this.#nowMs = nowMs;
    this.name = name;
    this.membership = membership;
    this.#rules = rules;
  }

  crash(): void {
    this.isUp = false;
    this.life += 1;
    this.#running.clear();
    while (this.#unsynced.length > 0) this.#unsynced.pop()?.();
  }

  /** Gives a transaction its number; it becomes visible with {@link commit}, maybe after later ones. */
  begin(): number {
    this.#transactions += 1;
    this.#running.add(this.#transactions);
    return this.#transactions;
  }

  /** What a statement for these requests does and answers. */
  commit(
    number: number,
    requests: readonly NodeRequest[],
    epoch: number,
  ): readonly (NodeReply | NodeFailure)[] {
    const replies = requests.map((request) =>
      this.#isOfEpoch(request, epoch)
        ? this.#run(request, number)
        : new NodeFailure(OTHER_EPOCH, { wasSent: false }),
    );
    this.#running.delete(number);
    return replies;
  }

  #isOfEpoch(request: NodeRequest, sentIn: number): boolean {
    if (!this.#rules.fencesEpochs) return true;
    switch (request.kind) {
      case 'merge':
      case 'read':
        return sentIn === this.membership.epoch;
      case 'seal':
      case 'collect':
      case 'erase':
        return request.epoch === this.membership.epoch && this.membership.next === null;
      case 'consensus':
      case 'slots':
      case 'learn':
        return request.epoch === this.membership.epoch;
      case 'hint':
      case 'take-hints':
      case 'drop-hints':
      case 'changes':
      case 'lacking':
      case 'seen':
      case 'note-seen':
      case 'digest':
      case 'deleted-slots':
      case 'adopt':
      case 'keys':
      case 'mark':
      case 'purge':
      case 'trim':
        return true;
    }
  }

  cellsOf(id: string): ReadonlyMap<string, Cell> {
    return this.#disk.cells.get(id) ?? new Map<string, Cell>();
  }

  get #marks(): Watermarks & { readonly slotFloor: number } {
    const { marks } = this.#disk;
    return {
      sealed: marks.get('sealed') ?? 0,
      floor: marks.get('floor') ?? 0,
      slotFloor: marks.get('slotFloor') ?? 0,
    };
  }

  #raise(mark: 'sealed' | 'floor' | 'slotFloor', to: number): number {
    const raised = Math.max(this.#disk.marks.get(mark) ?? 0, to);
    this.#set(this.#disk.marks, mark, raised);
    return raised;
  }

  #run(request: NodeRequest, number: number): NodeReply | NodeFailure {
    switch (request.kind) {
      case 'merge':
        if (request.isRepair !== true && request.cells.some((cell) => this.#isTooLate(cell)))
          return new NodeFailure('the clock of the writer is far behind', {
            wasSent: false,
            refusal: 'CLOCK_SKEW',
          });
        for (const cell of request.cells) this.#merge(cell, number);
        return { kind: 'done' };
      case 'read': {
        const found = this.cellsOf(keyId(request.collection.name, request.key));
        const cells = [...found.values()].filter(({ store }) => store === request.store);
        return { kind: 'cells', cells, floor: this.#marks.floor };
      }
      case 'consensus': {
        const id = keyId(request.collection.name, request.key);
        const known = this.#disk.slots.get(id);
        const { state, reply } = stepAcceptor(
          known ?? this.#rules.acceptorAbove(this.#marks.slotFloor),
          request.message,
        );
        const isChange = reply.kind === 'promise' || reply.kind === 'accepted';
        if (isChange) this.#setSlot(id, { name: request.collection.name, kind: 'cas' }, request.key, state);
        return { kind: 'consensus', reply };
      }
      case 'keys':
      case 'mark':
      case 'purge':
      case 'trim':
        throw new TypeError(`No simulated client asks for ${request.kind}.`);
      case 'hint': {
        const { target, store, collection, key } = request.hint;
        const noted = String(number).padStart(12, '0');
        const id = `${target} ${store} ${keyId(collection.name, key)}`;
        this.#set(this.#disk.hints, id, { ...request.hint, noted });
        return { kind: 'done' };
      }
      case 'take-hints': {
        const hints = [...this.#disk.hints.values()]
          .filter(({ target }) => target === request.target)
          .sort((a, b) => (a.noted < b.noted ? -1 : 1));
        return { kind: 'hints', hints: hints.slice(0, request.limit) };
      }
      case 'drop-hints':
        for (const { target, store, collection, key, noted } of request.hints) {
          const id = `${target} ${store} ${keyId(collection.name, key)}`;
          if (this.#disk.hints.get(id)?.noted === noted) this.#disk.hints.delete(id);
        }
        return { kind: 'done' };
      case 'changes': {
        const below = this.#horizon();
        const changed = this.#changed(request.store, request.from, below);
        const last = changed[request.limit - 1]?.number ?? below;
        const page = changed.filter(({ number: at }) => at <= last);
        const isWhole = changed.length < request.limit;
        return {
          kind: 'changes',
          changes: page.map(({ cell }) => ({
            cell: cell.store === 'registers' ? { ...cell, value: null } : cell,
            collection: { name: cell.collection, kind: cell.store === 'registers' ? 'lww' : 'cart' },
          })),
          next: isWhole ? below : last + 1,
          isWhole,
        };
      }
      case 'lacking':
        return {
          kind: 'cells',
          cells: request.cells.filter((cell) => {
            const known = this.#cell(cell);
            if (this.#rules.isForgotten(cell, known, this.#marks.floor)) return false;
            return known === undefined || !covers(known, cell);
          }),
        };
      case 'seen': {
        const id = `${request.source} ${request.store}`;
        return { kind: 'seen', seen: this.#disk.seen.get(id) ?? 0, own: this.#disk.own.get(id) ?? 0 };
      }
      case 'note-seen': {
        const id = `${request.source} ${request.store}`;
        if ((this.#disk.seen.get(id) ?? 0) >= request.seen) return { kind: 'done' };
        this.#set(this.#disk.seen, id, request.seen);
        if (request.isLevel) this.#set(this.#disk.own, id, this.#horizon());
        return { kind: 'done' };
      }
      case 'digest': {
        const next = this.#horizon();
        const states = this.#changed(request.store, request.from, next).map(({ cell }) =>
          cell.store === 'registers'
            ? [cell.collection, cell.key, cell.field, cell.at, cell.writer, cell.expiresAtMs].join()
            : [cell.collection, cell.key, cell.item, cell.actor, cell.added, cell.removed].join(),
        );
        const digest = states.length > request.limit ? null : states.sort().join(';');
        return { kind: 'digest', count: states.length, digest, next };
      }
      case 'seal': {
        const at = this.#raise('sealed', Math.min(request.at, hlcOfMs(this.#nowMs() - request.keepMs)));
        return { kind: 'sealed', at, next: this.#transactions + 1 };
      }
      case 'collect':
        return { kind: 'forgotten', count: this.#collect(request) };
      case 'deleted-slots': {
        const slots = [...this.#disk.slots.values()].filter(
          ({ deletedAtMs }) => deletedAtMs !== null && deletedAtMs < this.#nowMs() - request.keepMs,
        );
        return { kind: 'deleted-slots', slots: slots.slice(0, request.limit) };
      }
      case 'erase':
        return { kind: 'forgotten', count: request.slots.filter((slot) => this.#erase(slot)).length };
      case 'adopt': {
        if (request.membership.epoch > this.membership.epoch) this.membership = request.membership;
        const marks = {
          sealed: this.#raise('sealed', request.marks.sealed),
          floor: this.#raise('floor', request.marks.floor),
          slotFloor: this.#raise('slotFloor', request.marks.slotFloor),
        };
        return { kind: 'adopted', epoch: this.membership.epoch, next: this.#transactions + 1, marks };
      }
      case 'slots': {
        const after = request.after.join('\u0000');
        const slots = [...this.#disk.slots]
          .filter(([id, { acceptedBallot }]) => id > after && acceptedBallot.counter > 0)
          .sort(([a], [b]) => (a < b ? -1 : 1))
          .slice(0, Math.min(2, request.limit));
        return {
          kind: 'slots',
          slots: slots.map(([, { collection, key, acceptedBallot, accepted }]) => ({
            collection: collection.name,
            key,
            ballot: acceptedBallot,
            register: accepted,
          })),
        };
      }
      case 'learn':
        for (const { collection, key, ballot, register } of request.slots) {
          const id = keyId(collection, key);
          const known = this.#disk.slots.get(id) ?? this.#rules.acceptorAbove(this.#marks.slotFloor);
          const state = learnAccepted(known, ballot, register);
          if (state !== known) this.#setSlot(id, { name: collection, kind: 'cas' }, key, state);
        }
        return { kind: 'done' };
    }
  }

  /** Below it everything is visible that ever will be. */
  #horizon(): number {
    return Math.min(this.#transactions + 1, ...(this.#rules.readsPastRunning ? [] : this.#running));
  }

  #changed(store: Cell['store'], from: number, below: number): { number: number; cell: Cell }[] {
    return [...this.#disk.changes.values()]
      .filter(({ number, cell }) => cell.store === store && number >= from && number < below)
      .sort((a, b) => a.number - b.number);
  }

  #setSlot(id: string, collection: SlotRow['collection'], key: string, state: AcceptorState): void {
    const isDeleted = fromProposal(state.accepted).value === null;
    const deletedAtMs = isDeleted ? (this.#disk.slots.get(id)?.deletedAtMs ?? this.#nowMs()) : null;
    this.#set(this.#disk.slots, id, { ...state, collection, key, deletedAtMs });
  }

  #cell(cell: Cell): Cell | undefined {
    return this.cellsOf(keyId(cell.collection, cell.key)).get(cellId(cell));
  }

  #isTooLate(cell: Cell): boolean {
    return this.#rules.isTooLate(cell, this.#cell(cell), this.#marks.sealed);
  }

  #collect({ floor, confirmed, limit }: Extract<NodeRequest, { kind: 'collect' }>): number {
    const known = this.#raise('floor', Math.min(floor, this.#marks.sealed));
    const page = [...this.#disk.changes]
      .filter(
        ([, { number, cell }]) => number < confirmed[cell.store] && this.#rules.isForgettable(cell, known),
      )
      .slice(0, limit);
    for (const [id, { cell }] of page) {
      const cells = this.#disk.cells.get(keyId(cell.collection, cell.key));
      if (cells !== undefined) this.#delete(cells, cellId(cell));
      this.#delete(this.#disk.changes, id);
    }
    this.forgotten += page.length;
    return page.length;
  }

  #erase(slot: ErasableSlot): boolean {
    const id = keyId(slot.collection.name, slot.key);
    const known = this.#disk.slots.get(id);
    if (known === undefined || !this.#rules.isStillErasable(known, slot)) return false;
    this.#raise('slotFloor', known.promised.counter);
    this.#delete(this.#disk.slots, id);
    this.erased += 1;
    return true;
  }

  #merge(cell: Cell, number: number): void {
    if (this.#rules.isForgotten(cell, this.#cell(cell), this.#marks.floor)) return;
    const id = keyId(cell.collection, cell.key);
    let cells = this.#disk.cells.get(id);
    if (cells === undefined) this.#disk.cells.set(id, (cells = new Map()));
    const known = cells.get(cellId(cell));
    const joined = known === undefined ? cell : this.#rules.join(known, cell);
    if (known !== undefined && covers(known, joined)) return;
    this.#set(cells, cellId(cell), joined);
    this.#set(this.#disk.changes, `${cell.store} ${id} ${cellId(cell)}`, { number, cell: joined });
  }

  #set<K extends string, V>(map: Map<K, V>, id: K, value: V): void {
    const before = map.get(id);
    map.set(id, value);
    if (this.#rules.isDurable) return;
    this.#unsynced.push(() => {
      if (before === undefined) map.delete(id);
      else map.set(id, before);
    });
    if (this.#unsynced.length > 30) this.#unsynced.shift();
  }

  #delete<V>(map: Map<string, V>, id: string): void {
    const before = map.get(id);
    map.delete(id);
    if (this.#rules.isDurable || before === undefined) return;
    this.#unsynced.push(() => void map.set(id, before));
  }
}
