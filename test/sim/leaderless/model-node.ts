import { EMPTY_ACCEPTOR, stepAcceptor } from '../../../src/consensus/acceptor.ts';
import type { AcceptorState } from '../../../src/consensus/acceptor.ts';
import { cellId, covers, keyId } from '../../../src/leaderless/core/cells.ts';
import type { Cell, joinCells } from '../../../src/leaderless/core/cells.ts';
import type { NodeReply, NodeRequest, NotedHint } from '../../../src/leaderless/nodes/requests.ts';

/** What a node has on disk: the model of the tables and functions in src/leaderless/nodes/schema.ts. */
interface Disk {
  readonly cells: Map<string, Map<string, Cell>>;
  readonly slots: Map<string, AcceptorState>;
  readonly hints: Map<string, NotedHint>;
  /** The transaction that changed a cell last, by store, key and cell. */
  readonly changes: Map<string, { readonly number: number; readonly cell: Cell }>;
  readonly seen: Map<string, number>;
}

export interface NodeRules {
  readonly join: typeof joinCells;
  /** Whether a commit is on disk before it is acknowledged. */
  readonly isDurable: boolean;
}

/** One server. A statement takes effect at once, as its commit does, and survives a crash. */
export class ModelNode {
  readonly name: string;
  readonly systemIdentifier: string;
  readonly #rules: NodeRules;
  readonly #disk: Disk = {
    cells: new Map(),
    slots: new Map(),
    hints: new Map(),
    changes: new Map(),
    seen: new Map(),
  };
  /** How to take back what is not on disk yet, newest last. */
  readonly #unsynced: (() => void)[] = [];
  #transactions = 0;
  readonly #running = new Set<number>();
  isUp = true;
  /** Counts crashes: what was under way before one is not done. */
  life = 0;

  constructor(name: string, rules: NodeRules) {
    this.name = name;
    this.systemIdentifier = `system-${name}`;
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
  commit(number: number, requests: readonly NodeRequest[]): readonly NodeReply[] {
    const replies = requests.map((request) => this.#run(request, number));
    this.#running.delete(number);
    return replies;
  }

  cellsOf(id: string): ReadonlyMap<string, Cell> {
    return this.#disk.cells.get(id) ?? new Map<string, Cell>();
  }

  #run(request: NodeRequest, number: number): NodeReply {
    switch (request.kind) {
      case 'merge':
        for (const cell of request.cells) this.#merge(cell, number);
        return { kind: 'done' };
      case 'read': {
        const found = this.cellsOf(keyId(request.collection.name, request.key));
        return { kind: 'cells', cells: [...found.values()].filter(({ store }) => store === request.store) };
      }
      case 'consensus': {
        const id = keyId(request.collection.name, request.key);
        const { state, reply } = stepAcceptor(this.#disk.slots.get(id) ?? EMPTY_ACCEPTOR, request.message);
        this.#set(this.#disk.slots, id, state);
        return { kind: 'consensus', reply };
      }
      case 'keys':
      case 'mark':
      case 'purge':
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
        const below = Math.min(this.#transactions + 1, ...this.#running);
        const changed = [...this.#disk.changes.values()]
          .filter(({ number: at, cell }) => cell.store === request.store && at >= request.from && at < below)
          .sort((a, b) => a.number - b.number);
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
            const known = this.cellsOf(keyId(cell.collection, cell.key)).get(cellId(cell));
            return known === undefined || !covers(known, cell);
          }),
        };
      case 'seen':
        return { kind: 'seen', seen: this.#disk.seen.get(`${request.source} ${request.store}`) ?? 0 };
      case 'note-seen': {
        const id = `${request.source} ${request.store}`;
        this.#set(this.#disk.seen, id, Math.max(this.#disk.seen.get(id) ?? 0, request.seen));
        return { kind: 'done' };
      }
    }
  }

  #merge(cell: Cell, number: number): void {
    const id = keyId(cell.collection, cell.key);
    let cells = this.#disk.cells.get(id);
    if (cells === undefined) this.#disk.cells.set(id, (cells = new Map()));
    const known = cells.get(cellId(cell));
    const joined = known === undefined ? cell : this.#rules.join(known, cell);
    if (known !== undefined && covers(known, joined)) return;
    this.#set(cells, cellId(cell), joined);
    this.#set(this.#disk.changes, `${cell.store} ${id} ${cellId(cell)}`, { number, cell: joined });
  }

  #set<V>(map: Map<string, V>, id: string, value: V): void {
    const before = map.get(id);
    map.set(id, value);
    if (this.#rules.isDurable) return;
    this.#unsynced.push(() => {
      if (before === undefined) map.delete(id);
      else map.set(id, before);
    });
    if (this.#unsynced.length > 30) this.#unsynced.shift();
  }
}
