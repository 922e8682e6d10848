import type { Clock } from '../../model/clock.ts';

interface Event {
  readonly atMs: number;
  readonly order: number;
  readonly run: () => void;
  isOff: boolean;
}

/**
 * A clock that stands still until it is driven: what is scheduled runs in order of time, then of scheduling, so
 * that the same seed gives the same run.
 */
export class VirtualTime implements Clock {
  /** A binary heap. */
  readonly #heap: Event[] = [];
  #order = 0;
  #nowMs = 0;
  /** How many events have run. */
  steps = 0;

  nowMs(): number {
    return this.#nowMs;
  }

  after(ms: number, run: () => void): () => void {
    const event: Event = { atMs: this.#nowMs + Math.max(0, ms), order: ++this.#order, run, isOff: false };
    const heap = this.#heap;
    let index = heap.length;
    heap.push(event);
    while (index > 0) {
      const parent = (index - 1) >>> 1;
      if (!isBefore(event, heap[parent]!)) break;
      heap[index] = heap[parent]!;
      index = parent;
    }
    heap[index] = event;
    return () => {
      event.isOff = true;
    };
  }

  sleep(ms: number): Promise<void> {
    return new Promise((resolve) => void this.after(ms, resolve));
  }

  /** Runs until that time, or until `isDone`, which is asked before each event. For code without promises. */
  runUntil(ms: number, isDone: () => boolean = () => false): void {
    while (this.#hasNext(ms) && !isDone()) this.#runNext();
  }

  /** The same for code with promises: after each event, everything that follows from it settles first. */
  async settleUntil(ms: number, isDone: () => boolean = () => false): Promise<void> {
    while (this.#hasNext(ms) && !isDone()) {
      this.#runNext();
      // Ticks come when no promise is left to settle, and cost no turn of the event loop.
      await new Promise<void>((resolve) => process.nextTick(resolve));
    }
  }

  #hasNext(ms: number): boolean {
    return this.#heap.length > 0 && this.#heap[0]!.atMs <= ms;
  }

  #runNext(): void {
    const next = this.#pop();
    this.#nowMs = next.atMs;
    if (next.isOff) return;
    this.steps++;
    next.run();
  }

  #pop(): Event {
    const heap = this.#heap;
    const top = heap[0]!;
    const last = heap.pop()!;
    if (heap.length === 0) return top;
    let index = 0;
    for (;;) {
      let child = 2 * index + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && isBefore(heap[child + 1]!, heap[child]!)) child++;
      if (!isBefore(heap[child]!, last)) break;
      heap[index] = heap[child]!;
      index = child;
    }
    heap[index] = last;
    return top;
  }
}

function isBefore(a: Event, b: Event): boolean {
  return a.atMs === b.atMs ? a.order < b.order : a.atMs < b.atMs;
}
