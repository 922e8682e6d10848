import type { LockstepError } from '../model/errors.ts';
import type { Cell, Store } from './core/cells.ts';
import type { WriteLevel } from './core/levels.ts';
import type { NodeQueue } from './nodes/node-queue.ts';
import { bytesOfCells, NodeFailure } from './nodes/requests.ts';
import type { CollectionName, NodeRequest } from './nodes/requests.ts';
import { notReached } from './not-reached.ts';
import type { Roster } from './roster.ts';
import type { Runtime } from './runtime.ts';

export interface WriteResult {
  /** Nodes that had it on disk when the call was done. */
  readonly answeredBy: readonly string[];
}

/** Told of keys that a node may lack although they were written. */
export type MissedKey = (missed: {
  readonly node: NodeQueue;
  /** Has it on disk, so that the hint is kept there; null when none is known to. */
  readonly holder: NodeQueue | null;
  readonly collection: CollectionName;
  readonly store: Store;
  readonly key: string;
}) => void;

/** Where cells are to go, and how fast; calls that want the same may share a request. */
export interface WriteAim {
  readonly collection: CollectionName;
  readonly store: Store;
  readonly level: WriteLevel;
  readonly deadlineMs: number;
}

export interface WriteContext {
  readonly roster: Roster;
  readonly runtime: Runtime;
  readonly onMissed: MissedKey;
}

interface Caller {
  resolve(result: WriteResult): void;
  reject(error: LockstepError): void;
}

/** What seldom happens to a write. It is made with the first failure: most writes have none. */
interface Trouble {
  readonly failures: Map<string, string>;
  /** Failed nodes that are asked again. */
  readonly pending: Map<NodeQueue, number>;
  readonly refusals: Set<NodeQueue>;
  refusal: NodeFailure | null;
  mayBeApplied: boolean;
}

const FIRST_REPEAT_MS = 10;
const LAST_REPEAT_MS = 160;
/** What calls share: so little that it fits beside others in one statement, and into the queue of a node that is behind. */
const MAX_SHARED_CELLS = 64;
const MAX_SHARED_BYTES = 65_536;

/**
 * Cells under way to every node, of one call or of several that share a request. It goes on after it is done: until each node has them, or
 * is known to have missed them.
 */
export class Write {
  readonly #aim: WriteAim;
  readonly #context: WriteContext;
  readonly #cells: Cell[] = [];
  readonly #callers: Caller[] = [];
  readonly #request: Extract<NodeRequest, { kind: 'merge' }>;
  readonly #answered: NodeQueue[] = [];
  /** Nodes that may still do it: asked, for the first time or again, and silent so far. */
  readonly #asked: NodeQueue[] = [];
  #bytes = 0;
  #trouble: Trouble | null = null;
  #isDone = false;
  #cancelDeadline: () => void = () => undefined;

  constructor(aim: WriteAim, context: WriteContext) {
    this.#aim = aim;
    this.#context = context;
    this.#request = { kind: 'merge', collection: aim.collection, store: aim.store, cells: this.#cells };
  }

  /** Whether these cells may share the request, which was not started yet. */
  hasRoomFor({ collection, store, level, deadlineMs }: WriteAim, cells: readonly Cell[]): boolean {
    const aim = this.#aim;
    if (aim.collection !== collection || aim.store !== store || aim.level !== level) return false;
    if (aim.deadlineMs !== deadlineMs || this.#cells.length + cells.length > MAX_SHARED_CELLS) return false;
    return this.#bytes + bytesOfCells(cells) <= MAX_SHARED_BYTES;
  }

  /** Resolves when as many nodes have it on disk as the level says; rejects with QUORUM_NOT_REACHED. */
  add(cells: readonly Cell[]): Promise<WriteResult> {
    for (const cell of cells) this.#cells.push(cell);
    this.#bytes += bytesOfCells(cells);
    return new Promise((resolve, reject) => {
      this.#callers.push({ resolve, reject });
    });
  }

  start(): void {
    const { roster, runtime } = this.#context;
    // Once for all nodes: each sorts them anyway, and is soon done with what is sorted.
    this.#cells.sort((a, b) => (a.key < b.key ? -1 : Number(a.key > b.key)));
    this.#cancelDeadline = runtime.after(this.#aim.deadlineMs, () => this.#giveUp());
    for (const node of roster.queues) this.#send(node);
  }

  #send(node: NodeQueue): void {
    this.#asked.push(node);
    node.ask(this.#request, (reply) => {
      const place = this.#asked.indexOf(node);
      if (place >= 0) this.#asked.splice(place, 1);
      if (reply instanceof NodeFailure) this.#onFailure(node, reply);
      else this.#onAnswer(node);
    });
  }

  #onAnswer(node: NodeQueue): void {
    this.#answered.push(node);
    this.#trouble?.failures.delete(node.name);
    this.#trouble?.pending.delete(node);
    if (this.#isDone || !this.#context.roster.isEnough(this.#aim.level, this.#answered)) return;
    this.#isDone = true;
    this.#cancelDeadline();
    const answeredBy = this.#answered.map(({ name }) => name);
    for (const caller of this.#callers) caller.resolve({ answeredBy });
    this.#missPending();
  }

  #onFailure(node: NodeQueue, failure: NodeFailure): void {
    this.#trouble ??= {
      failures: new Map(),
      pending: new Map(),
      refusals: new Set(),
      refusal: null,
      mayBeApplied: false,
    };
    const { failures, pending, refusals } = this.#trouble;
    failures.set(node.name, failure.message);
    this.#trouble.mayBeApplied ||= failure.wasSent;
    if (this.#isDone) return this.#miss(node);
    const { roster, runtime } = this.#context;
    if (failure.refusal !== null) {
      this.#trouble.refusal = failure;
      refusals.add(node);
      pending.set(node, 0);
      // Each of the others might still do it, also one that failed and is asked again.
      const isLeft = (other: NodeQueue): boolean => !this.#answered.includes(other) && !refusals.has(other);
      if (!roster.queues.some(isLeft)) this.#giveUp();
      return;
    }
    // The very same cells again: they cannot count twice.
    const times = pending.get(node) ?? 0;
    pending.set(node, times + 1);
    const delayMs = Math.min(LAST_REPEAT_MS, FIRST_REPEAT_MS * 2 ** times);
    runtime.after(delayMs, () => {
      if (this.#isDone) return;
      const { queues } = roster;
      if (queues.includes(node) && !this.#answered.includes(node)) this.#send(node);
      // Members that came meanwhile.
      for (const other of queues)
        if (!this.#answered.includes(other) && !this.#asked.includes(other) && !pending.has(other))
          this.#send(other);
    });
  }

  #giveUp(): void {
    if (this.#isDone) return;
    this.#isDone = true;
    this.#cancelDeadline();
    const { level } = this.#aim;
    const trouble = this.#trouble;
    const mayBeApplied =
      this.#answered.length > 0 || trouble?.mayBeApplied === true || this.#asked.length > 0;
    const outcome = mayBeApplied ? 'unknown' : 'not-applied';
    const answeredBy = this.#answered.map(({ name }) => name);
    const failures = trouble?.failures ?? new Map<string, string>();
    const needed = this.#context.roster.needed(level);
    for (const caller of this.#callers)
      caller.reject(notReached(level, outcome, failures, answeredBy, needed, trouble?.refusal ?? undefined));
    if (this.#answered.length > 0) this.#missPending();
  }

  #missPending(): void {
    if (this.#trouble !== null) for (const node of this.#trouble.pending.keys()) this.#miss(node);
  }

  #miss(node: NodeQueue): void {
    const { collection, store } = this.#aim;
    const holder = this.#answered[0] ?? null;
    for (const key of new Set(this.#cells.map((cell) => cell.key)))
      this.#context.onMissed({ node, holder, collection, store, key });
  }
}
