interface Event {
  readonly atMs: number;
  readonly order: number;
  readonly run: () => void;
}

/** Virtual time: what is scheduled runs in order of time, then of scheduling. A binary heap. */
export class EventQueue {
  readonly #heap: Event[] = [];
  #order = 0;
  nowMs = 0;
  steps = 0;

  after(ms: number, run: () => void): void {
    const event = { atMs: this.nowMs + Math.max(0, ms), order: ++this.#order, run };
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
  }

  /** Runs until that time, or until `isDone`, which is asked after each event. */
  runUntil(ms: number, isDone: () => boolean): void {
    while (this.#heap.length > 0 && this.#heap[0]!.atMs <= ms && !isDone()) {
      const next = this.#pop();
      this.nowMs = next.atMs;
      this.steps++;
      next.run();
    }
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
