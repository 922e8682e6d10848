import { notReached } from './not-reached.ts';
import type { ReadLevel } from './core/levels.ts';
import type { NodeQueue } from './nodes/node-queue.ts';
import { NodeFailure } from './nodes/requests.ts';
import type { NodeReply, NodeRequest } from './nodes/requests.ts';
import type { Runtime } from './runtime.ts';

/** After so long without an answer another node is asked as well. */
const HEDGE_MS = 20;
/** A node that has been silent for so long is asked last. */
const SILENT_MS = 40;

export interface Question<T> {
  readonly request: NodeRequest;
  /** What the reply tells; null for one that is no answer. */
  readonly pick: (reply: NodeReply) => T | null;
  readonly needed: number;
  readonly level: ReadLevel;
  readonly deadlineMs: number;
}

export interface NodeAnswer<T> {
  readonly node: NodeQueue;
  readonly answer: T;
}

/**
 * Asks as many nodes as needed, and another one for each that fails or is slow. Rejects with QUORUM_NOT_REACHED
 * (`not-applied`) when too few answered in time. `order`: whom to ask first.
 */
export function askNodes<T>(
  order: readonly NodeQueue[],
  runtime: Runtime,
  { request, pick, needed, level, deadlineMs }: Question<T>,
): Promise<readonly NodeAnswer<T>[]> {
  return new Promise((resolve, reject) => {
    const answers: NodeAnswer<T>[] = [];
    const failures = new Map<string, string>();
    let next = 0;
    let isDone = false;
    const finish = (settle: () => void): void => {
      if (isDone) return;
      isDone = true;
      cancelHedge();
      cancelDeadline();
      settle();
    };
    const fail = (cause?: NodeFailure): void => {
      const answeredBy = answers.map(({ node }) => node.name);
      finish(() => reject(notReached(level, 'not-applied', failures, answeredBy, needed, cause)));
    };
    const askNext = (): void => {
      const node = order[next++];
      if (node === undefined) return;
      node.ask(request, (reply) => take(node, reply));
    };
    const take = (node: NodeQueue, reply: NodeReply | NodeFailure): void => {
      if (isDone) return;
      if (reply instanceof NodeFailure) {
        failures.set(node.name, reply.message);
        if (order.length - failures.size < needed) fail(reply);
        else askNext();
        return;
      }
      const answer = pick(reply);
      if (answer === null) return;
      answers.push({ node, answer });
      if (answers.length === needed) finish(() => resolve(answers));
    };
    const cancelHedge = runtime.after(HEDGE_MS, () => {
      while (next < order.length) askNext();
    });
    const cancelDeadline = runtime.after(deadlineMs, () => fail());
    for (let index = 0; index < needed; index++) askNext();
  });
}

/** Those that answer first, beginning with another one each `turn`, so that all are asked as often. */
export function inOrder(nodes: readonly NodeQueue[], turn: number): readonly NodeQueue[] {
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
