import type { EventQueue } from './event-queue.ts';
import type { Host, Process } from './host.ts';

/** Carries messages between machines: loses, delays, doubles and so reorders them; cut in one direction or both. */
export class Network {
  readonly #time: EventQueue;
  readonly #random: () => number;
  readonly #cuts = new Map<number, number>();
  /** The share of messages that are lost or doubled, and of those that take up to `slowMs`. */
  lossShare = 0;
  slowShare = 0;
  slowMs = 400;

  constructor(time: EventQueue, random: () => number) {
    this.#time = time;
    this.#random = random;
  }

  /** Nothing gets from one to the other, until it is mended as often as it was cut. */
  cut(from: Host, to: Host): void {
    const link = from.index * 64 + to.index;
    this.#cuts.set(link, (this.#cuts.get(link) ?? 0) + 1);
  }

  mend(from: Host, to: Host): void {
    const link = from.index * 64 + to.index;
    this.#cuts.set(link, Math.max(0, (this.#cuts.get(link) ?? 0) - 1));
  }

  heal(): void {
    this.#cuts.clear();
    this.lossShare = 0;
    this.slowShare = 0;
  }

  isCut(from: Host, to: Host): boolean {
    return (this.#cuts.get(from.index * 64 + to.index) ?? 0) > 0;
  }

  send(from: Host, to: Host, process: Process, run: () => void): void {
    if (from === to) return this.#deliver(from, to, process, run, 0.02);
    const copies = this.lossShare > 0 && this.#random() < this.lossShare ? 2 : 1;
    for (let copy = 0; copy < copies; copy++) {
      if (this.lossShare > 0 && this.#random() < this.lossShare) continue;
      const isSlow = this.slowShare > 0 && this.#random() < this.slowShare;
      this.#deliver(from, to, process, run, 0.15 + this.#random() * (isSlow ? this.slowMs : 1.5));
    }
  }

  #deliver(from: Host, to: Host, process: Process, run: () => void, delayMs: number): void {
    if (this.isCut(from, to)) return;
    this.#time.after(delayMs, () => {
      if (!to.isDown && !this.isCut(from, to)) process.deliver(process.life, run);
    });
  }
}
