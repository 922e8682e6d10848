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
import type { CollectionName } from './nodes/requests.ts';
import { notReached } from './not-reached.ts';
import type { Roster } from './roster.ts';
import type { Runtime } from './runtime.ts';
import { Write } from './write.ts';
import type { MissedKey, WriteContext, WriteResult } from './write.ts';

export interface ReadResult {
  readonly cells: CellMap;
  /** Nodes whose answers were merged. */
  readonly answeredBy: readonly string[];
  /** Nodes that lacked something of it and have it now. */
  readonly repaired: readonly string[];
}

/** After so long a repair goes to all nodes. */
const SPARE_MS = 20;

interface LackingNode {
  readonly node: NodeQueue;
  readonly lacking: readonly Cell[];
}

/** Writes cells to, and reads them from, all nodes. */
export class Replicas {
  readonly #runtime: Runtime;
  readonly #rules: Rules;
  readonly #roster: Roster;
  readonly #context: WriteContext;
  /** What this turn of the event loop has written so far. */
  #gathering: Write | null = null;
  #isStartScheduled = false;
  #turn = 0;
  #repairs = 0;

  constructor(roster: Roster, runtime: Runtime, onMissed: MissedKey, rules: Rules = RULES) {
    this.#rules = rules;
    this.#roster = roster;
    this.#runtime = runtime;
    this.#context = { roster, runtime, onMissed };
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
    const write = new Write({ collection, store, level, deadlineMs }, this.#context);
    const done = write.add(cells);
    write.start();
    return done;
  }

  /**
   * As {@link write}, for cells that are new: those of one turn of the event loop leave as one request, and share what becomes of it. Each
   * request costs as much as many cells in one.
   */
  writeNew(
    collection: CollectionName,
    cells: readonly Cell[],
    level: WriteLevel,
    deadlineMs: number,
  ): Promise<WriteResult> {
    const store = cells[0]?.store;
    if (store === undefined) return Promise.resolve({ answeredBy: [] });
    const aim = { collection, store, level, deadlineMs };
    if (this.#gathering?.hasRoomFor(aim, cells) !== true) {
      this.#startGathered();
      this.#gathering = new Write(aim, this.#context);
      if (!this.#isStartScheduled) this.#scheduleStart();
    }
    return this.#gathering.add(cells);
  }

  #scheduleStart(): void {
    this.#isStartScheduled = true;
    this.#runtime.soon(() => {
      this.#isStartScheduled = false;
      this.#startGathered();
    });
  }

  #startGathered(): void {
    this.#gathering?.start();
    this.#gathering = null;
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
