import type { RoundQuorum } from '../consensus/proposer.ts';
import { RULES } from './core/rules.ts';
import type { Rules } from './core/rules.ts';
import type { WriteLevel } from './core/levels.ts';
import type { NodeQueue } from './nodes/node-queue.ts';

export interface KnownNode {
  readonly queue: NodeQueue;
  /** What the others call it in hints and change counters; null until it was ever seen. */
  readonly id: () => string | null;
}

/**
 * The nodes that this process goes by. While members change there are two sets, the old and the new one, and whatever needs a
 * majority needs one of each.
 */
export class Roster {
  readonly #rules: Rules;
  #epoch: number;
  #sets: readonly (readonly KnownNode[])[];
  #nodes: readonly KnownNode[];
  #queues: readonly NodeQueue[];

  constructor(epoch: number, sets: readonly (readonly KnownNode[])[], rules: Rules = RULES) {
    this.#rules = rules;
    this.#epoch = epoch;
    this.#sets = sets;
    this.#nodes = [...new Set(sets.flat())];
    this.#queues = this.#nodes.map(({ queue }) => queue);
  }

  /** What counts from now on; an older epoch changes nothing. */
  change(epoch: number, sets: readonly (readonly KnownNode[])[]): boolean {
    if (epoch <= this.#epoch) return false;
    this.#epoch = epoch;
    this.#sets = sets;
    this.#nodes = [...new Set(sets.flat())];
    this.#queues = this.#nodes.map(({ queue }) => queue);
    return true;
  }

  get epoch(): number {
    return this.#epoch;
  }

  /** Members do not change now. */
  get isStable(): boolean {
    return this.#sets.length === 1;
  }

  get nodes(): readonly KnownNode[] {
    return this.#nodes;
  }

  get queues(): readonly NodeQueue[] {
    return this.#queues;
  }

  /** What a round of compare-and-set needs. */
  get roundQuorum(): RoundQuorum {
    return this.#rules.setsThatCount(this.#sets).map((set) => ({
      members: set.map(({ queue }) => queue.name),
      needed: this.#rules.majority(set.length),
    }));
  }

  /** How many nodes a level needs, of the set of which it needs most. */
  needed(level: WriteLevel): number {
    return Math.max(...this.#sets.map((set) => this.#rules.nodesNeeded(level, set.length)));
  }

  isEnough(level: WriteLevel, nodes: readonly NodeQueue[]): boolean {
    for (const set of this.#rules.setsThatCount(this.#sets)) {
      let count = 0;
      for (const { queue } of set) if (nodes.includes(queue)) count += 1;
      if (count < this.#rules.nodesNeeded(level, set.length)) return false;
    }
    return true;
  }

  /** Whether the level can still be reached when these nodes do not answer. */
  canReach(level: WriteLevel, failed: (node: NodeQueue) => boolean): boolean {
    return this.isEnough(
      level,
      this.#queues.filter((queue) => !failed(queue)),
    );
  }
}
