import { bytesOf, exclusiveKey, laneOf, NodeFailure } from './requests.ts';
import type { Lane, NodeReply, NodeRequest, NodeTransport } from './requests.ts';
import type { Runtime } from '../runtime.ts';

/** What waits behind a statement of its kind that carries more does so no longer than this: that one may hang. */
const HELD_MS = 10;

/** Called once, with what the node answered or why it did not. */
export type Answer = (reply: NodeReply | NodeFailure) => void;

export interface QueueLimits {
  readonly maxInFlight: number;
  /** Keys in one statement. */
  readonly maxKeys: number;
  /** What may wait; more is refused at once, except for one request alone, however large. */
  readonly maxBytes: number;
}

interface Waiting {
  readonly request: NodeRequest;
  readonly answer: Answer;
  readonly bytes: number;
  /** Keys that it names, as the limit of a statement counts them. */
  readonly keys: number;
}

/**
 * What waits for one node. Requests that queue behind a statement in flight leave together; those of a node that
 * cannot be reached, or has too much waiting, are refused at once.
 */
export class NodeQueue {
  readonly name: string;
  readonly #transport: NodeTransport;
  readonly #runtime: Runtime;
  readonly #limits: QueueLimits;
  /** In order of who waits longest. */
  readonly #lanes = new Map<Lane, Waiting[]>();
  #inFlight = 0;
  #bytes = 0;
  #count = 0;
  #isScheduled = false;
  /** Statements in flight: when each was sent, on the monotonic clock, and how many keys of which lane it carries. */
  readonly #sent = new Set<{ readonly atMs: number; readonly lane: Lane; readonly keys: number }>();
  #isWaking = false;

  constructor(name: string, transport: NodeTransport, runtime: Runtime, limits: QueueLimits) {
    this.name = name;
    this.#transport = transport;
    this.#runtime = runtime;
    this.#limits = limits;
    transport.onChange = () => this.#schedule();
  }

  get isUp(): boolean {
    return this.#transport.isUp;
  }

  get waiting(): { readonly requests: number; readonly bytes: number } {
    return { requests: this.#count, bytes: this.#bytes };
  }

  /** For how long the oldest statement in flight has not been answered. */
  silentMs(): number {
    let oldest: number | null = null;
    for (const { atMs } of this.#sent) oldest = oldest === null ? atMs : Math.min(oldest, atMs);
    return oldest === null ? 0 : this.#runtime.monotonicMs() - oldest;
  }

  ask(request: NodeRequest, answer: Answer): void {
    if (!this.#transport.isUp) {
      this.#runtime.soon(() => answer(new NodeFailure(`${this.name} cannot be reached`, { wasSent: false })));
      return;
    }
    const bytes = bytesOf(request);
    if (this.#count > 0 && this.#bytes + bytes > this.#limits.maxBytes) {
      const message = `${this.name} has ${this.#bytes} bytes waiting, and no more are kept`;
      this.#runtime.soon(() => answer(new NodeFailure(message, { wasSent: false })));
      return;
    }
    this.#bytes += bytes;
    this.#count += 1;
    const lane = laneOf(request);
    const keys = request.kind === 'merge' ? request.cells.length : 1;
    const waiting = this.#lanes.get(lane);
    if (waiting === undefined) this.#lanes.set(lane, [{ request, answer, bytes, keys }]);
    else waiting.push({ request, answer, bytes, keys });
    this.#schedule();
  }

  /** What is asked in one turn of the event loop leaves together. */
  #schedule(): void {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    this.#runtime.soon(() => {
      this.#isScheduled = false;
      this.#pump();
    });
  }

  #pump(): void {
    if (!this.#transport.isUp) return this.#refuseAll();
    while (this.#inFlight < this.#limits.maxInFlight && this.#transport.idle > 0) {
      const ready = this.#ready();
      if (ready === null) return;
      const batch = this.#take(...ready);
      this.#inFlight += 1;
      void this.#send(ready[0], batch);
    }
  }

  /**
   * Whose turn it is: who waits longest, but for those behind a statement of their lane that carries more than they are. Each
   * statement costs as much as many requests in one, and most of the callers in flight ask again with its answer.
   */
  #ready(): readonly [Lane, readonly Waiting[]] | null {
    const nowMs = this.#runtime.monotonicMs();
    for (const [lane, waiting] of this.#lanes) {
      let leftMs = 0;
      for (const { atMs, lane: other, keys } of this.#sent)
        if (other === lane && isLess(waiting, keys)) leftMs = Math.max(leftMs, atMs + HELD_MS - nowMs);
      if (leftMs <= 0) return [lane, waiting];
      this.#wakeAfter(leftMs);
    }
    return null;
  }

  #wakeAfter(delayMs: number): void {
    if (this.#isWaking) return;
    this.#isWaking = true;
    this.#runtime.after(delayMs, () => {
      this.#isWaking = false;
      this.#pump();
    });
  }

  #take(lane: Lane, waiting: readonly Waiting[]): readonly Waiting[] {
    this.#lanes.delete(lane);
    const { batch, rest } = cutBatch(waiting, this.#limits.maxKeys);
    // Behind the other lanes.
    if (rest.length > 0) this.#lanes.set(lane, rest);
    for (const { bytes } of batch) this.#bytes -= bytes;
    this.#count -= batch.length;
    return batch;
  }

  async #send(lane: Lane, batch: readonly Waiting[]): Promise<void> {
    const sent = {
      atMs: this.#runtime.monotonicMs(),
      lane,
      keys: batch.reduce((sum, { keys }) => sum + keys, 0),
    };
    this.#sent.add(sent);
    let replies: readonly (NodeReply | NodeFailure)[];
    try {
      replies = await this.#transport.send(batch.map(({ request }) => request));
    } catch (error) {
      const failure =
        error instanceof NodeFailure
          ? error
          : new NodeFailure(`${this.name} failed: ${(error as Error).message}`, {
              wasSent: true,
              cause: error,
            });
      replies = batch.map(() => failure);
    }
    this.#sent.delete(sent);
    this.#inFlight -= 1;
    // With what those who are answered now ask next.
    this.#schedule();
    batch.forEach(({ answer }, index) => {
      answer(replies[index] ?? new NodeFailure(`${this.name} left a request unanswered`, { wasSent: true }));
    });
  }

  #refuseAll(): void {
    const waiting = [...this.#lanes.values()].flat();
    this.#lanes.clear();
    this.#bytes = 0;
    this.#count = 0;
    const failure = new NodeFailure(`${this.name} cannot be reached`, { wasSent: false });
    for (const { answer } of waiting) answer(failure);
  }
}

/** Whether all of these name less than so many keys. */
function isLess(waiting: readonly Waiting[], most: number): boolean {
  let sum = 0;
  for (const { keys } of waiting) {
    sum += keys;
    if (sum >= most) return false;
  }
  return true;
}

/** The first requests, up to `maxKeys` or one that has more, each exclusive key once. */
function cutBatch(
  waiting: readonly Waiting[],
  maxKeys: number,
): { readonly batch: readonly Waiting[]; readonly rest: Waiting[] } {
  const batch: Waiting[] = [];
  const skipped: Waiting[] = [];
  const keys = new Set<string>();
  let size = 0;
  let next = 0;
  while (next < waiting.length) {
    const entry = waiting[next] as Waiting;
    if (size > 0 && size + entry.keys > maxKeys) break;
    next += 1;
    const key = exclusiveKey(entry.request);
    if (key !== null && keys.has(key)) {
      skipped.push(entry);
      continue;
    }
    if (key !== null) keys.add(key);
    size += entry.keys;
    batch.push(entry);
  }
  const behind = waiting.slice(next);
  return { batch, rest: skipped.length === 0 ? behind : [...skipped, ...behind] };
}
