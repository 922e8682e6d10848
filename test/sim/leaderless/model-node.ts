import { EMPTY_ACCEPTOR, stepAcceptor } from '../../../src/consensus/acceptor.ts';
import type { AcceptorState } from '../../../src/consensus/acceptor.ts';
import { cellId, keyId } from '../../../src/leaderless/core/cells.ts';
import type { Cell, joinCells } from '../../../src/leaderless/core/cells.ts';
import type { NodeReply, NodeRequest, NotedHint } from '../../../src/leaderless/nodes/requests.ts';

/** What a node has on disk: the model of the tables and functions in src/leaderless/nodes/schema.ts. */
interface Disk {
  readonly cells: Map<string, Map<string, Cell>>;
  readonly slots: Map<string, AcceptorState>;
  readonly hints: Map<string, NotedHint>;
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
  #disk: Disk = { cells: new Map(), slots: new Map(), hints: new Map() };
  /** How to take back what is not on disk yet, newest last. */
  readonly #unsynced: (() => void)[] = [];
  #statements = 0;
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
    while (this.#unsynced.length > 0) this.#unsynced.pop()?.();
  }

  /** What a statement for these requests does and answers. */
  commit(requests: readonly NodeRequest[]): readonly NodeReply[] {
    this.#statements += 1;
    return requests.map((request) => this.#run(request));
  }

  cellsOf(id: string): ReadonlyMap<string, Cell> {
    return this.#disk.cells.get(id) ?? new Map<string, Cell>();
  }

  #run(request: NodeRequest): NodeReply {
    switch (request.kind) {
      case 'merge':
        for (const cell of request.cells) this.#merge(cell);
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
      case 'hint': {
        const { target, store, collection, key } = request.hint;
        const noted = String(this.#statements).padStart(12, '0');
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
    }
  }

  #merge(cell: Cell): void {
    const id = keyId(cell.collection, cell.key);
    let cells = this.#disk.cells.get(id);
    if (cells === undefined) this.#disk.cells.set(id, (cells = new Map()));
    const known = cells.get(cellId(cell));
    this.#set(cells, cellId(cell), known === undefined ? cell : this.#rules.join(known, cell));
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
