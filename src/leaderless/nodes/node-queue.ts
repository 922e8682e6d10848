import { bytesOf, exclusiveKey, laneOf, NodeFailure } from './requests.ts';
import type { Lane, NodeReply, NodeRequest, NodeTransport } from './requests.ts';
import type { Runtime } from '../runtime.ts';

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
  /** When the oldest statements in flight were sent, on the monotonic clock. */
  readonly #sentAt = new Set<{ readonly atMs: number }>();

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
    for (const { atMs } of this.#sentAt) oldest = oldest === null ? atMs : Math.min(oldest, atMs);
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
    const waiting = this.#lanes.get(lane);
    if (waiting === undefined) this.#lanes.set(lane, [{ request, answer, bytes }]);
    else waiting.push({ request, answer, bytes });
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
    while (this.#inFlight < this.#limits.maxInFlight && this.#transport.idle > 0 && this.#lanes.size > 0) {
      const batch = this.#take();
      this.#inFlight += 1;
      void this.#send(batch);
    }
  }

  #take(): readonly Waiting[] {
    const [lane, waiting] = this.#lanes.entries().next().value ?? ['', []];
    this.#lanes.delete(lane);
    const { batch, rest } = cutBatch(waiting, this.#limits.maxKeys);
    // Behind the other lanes.
    if (rest.length > 0) this.#lanes.set(lane, rest);
    for (const { bytes } of batch) this.#bytes -= bytes;
    this.#count -= batch.length;
    return batch;
  }

  async #send(batch: readonly Waiting[]): Promise<void> {
    const sent = { atMs: this.#runtime.monotonicMs() };
    this.#sentAt.add(sent);
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
    this.#sentAt.delete(sent);
    this.#inFlight -= 1;
    this.#pump();
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

/** The first requests, up to `maxKeys`, each exclusive key once. */
function cutBatch(
  waiting: readonly Waiting[],
  maxKeys: number,
): { readonly batch: readonly Waiting[]; readonly rest: Waiting[] } {
  const batch: Waiting[] = [];
  const rest: Waiting[] = [];
  const keys = new Set<string>();
  let size = 0;
  for (const entry of waiting) {
    const key = exclusiveKey(entry.request);
    if (size >= maxKeys || (key !== null && keys.has(key))) {
      rest.push(entry);
      continue;
    }
    if (key !== null) keys.add(key);
    size += entry.request.kind === 'merge' ? entry.request.cells.length : 1;
    batch.push(entry);
  }
  return { batch, rest };
}
