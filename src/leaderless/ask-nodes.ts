import type { LockstepError } from '../model/errors.ts';
import { notReached } from './not-reached.ts';
import type { ReadLevel } from './core/levels.ts';
import type { NodeQueue } from './nodes/node-queue.ts';
import { NodeFailure } from './nodes/requests.ts';
import type { NodeReply, NodeRequest } from './nodes/requests.ts';
import type { Roster } from './roster.ts';
import type { Runtime } from './runtime.ts';

/** After so long without an answer all other nodes are asked as well. */
const HEDGE_MS = 20;
/** A node that has been silent for so long is asked last. */
const SILENT_MS = 40;
const FIRST_REPEAT_MS = 10;
const LAST_REPEAT_MS = 160;

export interface Question<T> {
  readonly request: NodeRequest;
  /** What the reply tells; null for one that is no answer. */
  readonly pick: (reply: NodeReply) => T | null;
  readonly level: ReadLevel;
  readonly deadlineMs: number;
}

export interface NodeAnswer<T> {
  readonly node: NodeQueue;
  readonly answer: T;
}

/**
 * Asks as many nodes as needed, and another one for each that fails or is slow; one that fails is asked again until the time is up. Rejects
 * with QUORUM_NOT_REACHED (`not-applied`) when too few answered.
 */
export class Asking<T> {
  readonly #roster: Roster;
  readonly #order: readonly NodeQueue[];
  readonly #runtime: Runtime;
  readonly #question: Question<T>;
  readonly #answers: NodeAnswer<T>[] = [];
  readonly #failures = new Map<string, string>();
  readonly #refusals = new Set<NodeQueue>();
  /** How often each was asked. */
  readonly #asked = new Map<NodeQueue, number>();
  #isDone = false;
  #cancelHedge: () => void = () => undefined;
  #cancelDeadline: () => void = () => undefined;
  #resolve: (answers: readonly NodeAnswer<T>[]) => void = () => undefined;
  #reject: (error: LockstepError) => void = () => undefined;

  /** `turn`: with whom it begins, so that all are asked as often. */
  constructor(roster: Roster, turn: number, runtime: Runtime, question: Question<T>) {
    this.#roster = roster;
    this.#order = inOrder(roster.queues, turn);
    this.#runtime = runtime;
    this.#question = question;
  }

  start(): Promise<readonly NodeAnswer<T>[]> {
    return new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
      const { level, deadlineMs } = this.#question;
      this.#cancelHedge = this.#runtime.after(HEDGE_MS, () => {
        for (const node of this.#order) if (!this.#asked.has(node)) this.#ask(node);
      });
      this.#cancelDeadline = this.#runtime.after(deadlineMs, () => this.#fail());
      for (const node of this.#order) {
        this.#ask(node);
        if (this.#roster.isEnough(level, [...this.#asked.keys()])) return;
      }
    });
  }

  #ask(node: NodeQueue): void {
    this.#asked.set(node, (this.#asked.get(node) ?? 0) + 1);
    node.ask(this.#question.request, (reply) => this.#take(node, reply));
  }

  #take(node: NodeQueue, reply: NodeReply | NodeFailure): void {
    if (this.#isDone) return;
    if (reply instanceof NodeFailure) return this.#onFailure(node, reply);
    const { pick, level } = this.#question;
    const answer = pick(reply);
    if (answer === null) return;
    this.#answers.push({ node, answer });
    const nodes = this.#answers.map((each) => each.node);
    if (this.#roster.isEnough(level, nodes)) this.#finish(() => this.#resolve(this.#answers));
  }

  #onFailure(node: NodeQueue, failure: NodeFailure): void {
    this.#failures.set(node.name, failure.message);
    if (failure.refusal !== null) {
      this.#refusals.add(node);
      if (!this.#roster.canReach(this.#question.level, (other) => this.#refusals.has(other)))
        this.#fail(failure);
      return;
    }
    const other = this.#order.find((each) => !this.#asked.has(each));
    if (other !== undefined) this.#ask(other);
    const times = this.#asked.get(node) ?? 1;
    this.#runtime.after(Math.min(LAST_REPEAT_MS, FIRST_REPEAT_MS * 2 ** (times - 1)), () => {
      if (this.#isDone) return;
      const { queues } = this.#roster;
      if (queues.includes(node)) this.#ask(node);
      // Members that came meanwhile.
      for (const each of queues) if (!this.#asked.has(each)) this.#ask(each);
    });
  }

  #fail(refusal?: NodeFailure): void {
    const { level } = this.#question;
    const names = this.#answers.map(({ node }) => node.name);
    const needed = this.#roster.needed(level);
    this.#finish(() =>
      this.#reject(notReached(level, 'not-applied', this.#failures, names, needed, refusal)),
    );
  }

  #finish(settle: () => void): void {
    if (this.#isDone) return;
    this.#isDone = true;
    this.#cancelHedge();
    this.#cancelDeadline();
    settle();
  }
}

/** Those that answer first, beginning with another one each `turn`, so that all are asked as often. */
function inOrder(nodes: readonly NodeQueue[], turn: number): readonly NodeQueue[] {
  const ready: NodeQueue[] = [];
  const silent: NodeQueue[] = [];
  const away: NodeQueue[] = [];
  for (let index = 0; index < nodes.length; index++) {
    const node = nodes[(index + turn) % nodes.length] as NodeQueue;
    if (!node.isUp) away.push(node);
    else if (node.silentMs() > SILENT_MS) silent.push(node);
    else ready.push(node);
  }
  return silent.length + away.length === 0 ? ready : [...ready, ...silent, ...away];
}
