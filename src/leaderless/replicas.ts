import type { LockstepError } from '../model/errors.ts';
import { Asking } from './ask-nodes.ts';
import type { NodeAnswer, Question } from './ask-nodes.ts';
import { joinAll } from './core/cells.ts';
import type { Cell, CellMap, Store } from './core/cells.ts';
import type { AnsweredCells } from './core/collecting.ts';
import type { ReadLevel, WriteLevel } from './core/levels.ts';
import { RULES } from './core/rules.ts';
import type { Rules } from './core/rules.ts';
import type { NodeQueue } from './nodes/node-queue.ts';
import { NodeFailure } from './nodes/requests.ts';
import type { CollectionName, NodeRequest } from './nodes/requests.ts';
import { notReached } from './not-reached.ts';
import type { Roster } from './roster.ts';
import type { Runtime } from './runtime.ts';

export interface WriteResult {
  /** Nodes that had it on disk when the call was done. */
  readonly answeredBy: readonly string[];
}

export interface ReadResult {
  readonly cells: CellMap;
  /** Nodes whose answers were merged. */
  readonly answeredBy: readonly string[];
  /** Nodes that lacked something of it and have it now. */
  readonly repaired: readonly string[];
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

const FIRST_REPEAT_MS = 10;
const LAST_REPEAT_MS = 160;

/** After so long a repair goes to all nodes. */
const SPARE_MS = 20;

interface LackingNode {
  readonly node: NodeQueue;
  readonly lacking: readonly Cell[];
}

type MergeRequest = Extract<NodeRequest, { kind: 'merge' }>;

/** Writes cells to, and reads them from, all nodes. */
export class Replicas {
  readonly #runtime: Runtime;
  readonly #onMissed: MissedKey;
  readonly #rules: Rules;
  readonly #roster: Roster;
  #turn = 0;
  #repairs = 0;

  constructor(roster: Roster, runtime: Runtime, onMissed: MissedKey, rules: Rules = RULES) {
    this.#rules = rules;
    this.#roster = roster;
    this.#runtime = runtime;
    this.#onMissed = onMissed;
  }

  /** How many nodes are a quorum. */
  get quorum(): number {
    return this.#roster.needed('quorum');
  }

  /** How many cells read repair has sent. */
  get repairs(): number {
    return this.#repairs;
  }

  /**
   * Sends the cells of one key to every node; done when as many have them on disk as the level says. Throws QUORUM_NOT_REACHED
   * when that cannot be reached in time, `not-applied` only when no node can have got them.
   */
  write(
    collection: CollectionName,
    cells: readonly Cell[],
    level: WriteLevel,
    deadlineMs: number,
  ): Promise<WriteResult> {
    const store = cells[0]?.store;
    if (store === undefined) return Promise.resolve({ answeredBy: [] });
    const request: MergeRequest = { kind: 'merge', collection, store, cells };
    return new Promise((resolve, reject) => {
      new Write(request, {
        roster: this.#roster,
        runtime: this.#runtime,
        level,
        deadlineMs,
        onMissed: this.#onMissed,
        resolve,
        reject,
      }).start();
    });
  }

  /**
   * Reads one key. At `quorum` a majority has what is returned before it is returned. Throws QUORUM_NOT_REACHED when too few
   * answered in time.
   */
  async read(
    collection: CollectionName,
    store: Store,
    key: string,
    level: ReadLevel,
    deadlineMs: number,
  ): Promise<ReadResult> {
    const endsAtMs = this.#runtime.monotonicMs() + deadlineMs;
    const answers = await this.ask({
      request: { kind: 'read', collection, store, key },
      pick: (reply): AnsweredCells | null =>
        reply.kind === 'cells' ? { cells: reply.cells, floor: reply.floor ?? 0 } : null,
      level,
      deadlineMs,
    });
    const joined = joinAll(this.#rules.withoutForgotten(answers.map(({ answer }) => answer)));
    const answeredBy = answers.map(({ node }) => node.name);
    if (level === 'one') return { cells: joined, answeredBy, repaired: [] };
    const behind = answers.flatMap(({ node, answer }) => {
      const lacking = this.#rules.lackingIn(answer.cells, joined);
      return lacking.length === 0 ? [] : [{ node, lacking }];
    });
    if (behind.length === 0) return { cells: joined, answeredBy, repaired: [] };
    const whole = answers
      .map(({ node }) => node)
      .filter((node) => !behind.some((each) => each.node === node));
    const all = [...joined.values()];
    // Should one of those hang, others may have it instead.
    const spare = this.#roster.queues
      .filter((node) => !answers.some((answer) => answer.node === node))
      .map((node) => ({ node, lacking: all }));
    const repaired = await this.#repair(collection, store, { behind, spare, whole }, level, endsAtMs);
    return { cells: joined, answeredBy, repaired };
  }

  /** Asks as many nodes as needed, each of them as often as the others. Throws QUORUM_NOT_REACHED. */
  ask<T>(question: Question<T>): Promise<readonly NodeAnswer<T>[]> {
    this.#turn = (this.#turn + 1) % this.#roster.queues.length;
    return new Asking(this.#roster, this.#turn, this.#runtime, question).start();
  }

  /** Sends nodes what they lack; resolves when those that have it, `whole` among them, are enough. */
  #repair(
    collection: CollectionName,
    store: Store,
    {
      behind,
      spare,
      whole,
    }: {
      readonly behind: readonly LackingNode[];
      readonly spare: readonly LackingNode[];
      readonly whole: readonly NodeQueue[];
    },
    level: ReadLevel,
    endsAtMs: number,
  ): Promise<readonly string[]> {
    return new Promise((resolve, reject) => {
      const repaired: NodeQueue[] = [];
      const failures = new Map<string, string>();
      const fail = (): void => {
        cancel();
        cancelSpare();
        reject(
          notReached(
            level,
            'not-applied',
            failures,
            repaired.map(({ name }) => name),
            this.#roster.needed(level),
          ),
        );
      };
      if (this.#roster.isEnough(level, whole)) resolve([]);
      const cancel = this.#runtime.after(Math.max(0, endsAtMs - this.#runtime.monotonicMs()), fail);
      const send = ({ node, lacking }: LackingNode): void => {
        node.ask({ kind: 'merge', collection, store, cells: lacking, isRepair: true }, (reply) => {
          if (reply instanceof NodeFailure) {
            failures.set(node.name, reply.message);
            const left = [...behind, ...spare]
              .map((each) => each.node)
              .filter(({ name }) => !failures.has(name));
            if (!this.#roster.isEnough(level, [...whole, ...left])) fail();
            return;
          }
          this.#repairs += lacking.length;
          repaired.push(node);
          if (!this.#roster.isEnough(level, [...whole, ...repaired])) return;
          cancel();
          cancelSpare();
          resolve(repaired.map(({ name }) => name));
        });
      };
      const cancelSpare = this.#runtime.after(SPARE_MS, () => {
        for (const each of spare) send(each);
      });
      for (const each of behind) send(each);
    });
  }
}

interface WriteOptions {
  readonly roster: Roster;
  readonly runtime: Runtime;
  readonly level: WriteLevel;
  readonly deadlineMs: number;
  readonly onMissed: MissedKey;
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

/** One write under way. It goes on after it is done: until each node has it, or is known to have missed it. */
class Write {
  readonly #request: MergeRequest;
  readonly #options: WriteOptions;
  readonly #answered: NodeQueue[] = [];
  /** Nodes that may still do it: asked, for the first time or again, and silent so far. */
  readonly #asked: NodeQueue[] = [];
  #trouble: Trouble | null = null;
  #isDone = false;
  #cancelDeadline: () => void = () => undefined;

  constructor(request: MergeRequest, options: WriteOptions) {
    this.#request = request;
    this.#options = options;
  }

  start(): void {
    const { roster, runtime, deadlineMs } = this.#options;
    this.#cancelDeadline = runtime.after(deadlineMs, () => this.#giveUp());
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
    const { roster, level } = this.#options;
    if (this.#isDone || !roster.isEnough(level, this.#answered)) return;
    this.#isDone = true;
    this.#cancelDeadline();
    this.#options.resolve({ answeredBy: this.#answered.map(({ name }) => name) });
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
    if (failure.refusal !== null) {
      this.#trouble.refusal = failure;
      refusals.add(node);
      pending.set(node, 0);
      // Each of the others might still do it, also one that failed and is asked again.
      const isLeft = (other: NodeQueue): boolean => !this.#answered.includes(other) && !refusals.has(other);
      if (!this.#options.roster.queues.some(isLeft)) this.#giveUp();
      return;
    }
    // The very same cells again: they cannot count twice.
    const times = pending.get(node) ?? 0;
    pending.set(node, times + 1);
    const delayMs = Math.min(LAST_REPEAT_MS, FIRST_REPEAT_MS * 2 ** times);
    this.#options.runtime.after(delayMs, () => {
      if (this.#isDone) return;
      const { queues } = this.#options.roster;
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
    const { roster, level } = this.#options;
    const trouble = this.#trouble;
    const mayBeApplied =
      this.#answered.length > 0 || trouble?.mayBeApplied === true || this.#asked.length > 0;
    const outcome = mayBeApplied ? 'unknown' : 'not-applied';
    const answeredBy = this.#answered.map(({ name }) => name);
    this.#options.reject(
      notReached(
        level,
        outcome,
        trouble?.failures ?? new Map(),
        answeredBy,
        roster.needed(level),
        trouble?.refusal ?? undefined,
      ),
    );
    if (this.#answered.length > 0) this.#missPending();
  }

  #missPending(): void {
    if (this.#trouble !== null) for (const node of this.#trouble.pending.keys()) this.#miss(node);
  }

  #miss(node: NodeQueue): void {
    const { collection, store, cells } = this.#request;
    const key = cells[0]?.key ?? '';
    this.#options.onMissed({ node, holder: this.#answered[0] ?? null, collection, store, key });
  }
}
