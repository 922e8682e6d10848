import { EMPTY_ACCEPTOR, stepAcceptor } from '../../src/consensus/acceptor.ts';
import type {
  AcceptorState,
  AcceptorStep,
  ConsensusMessage,
  ConsensusReply,
} from '../../src/consensus/acceptor.ts';
import type { CoordinationClock } from '../../src/coordination/embedded.ts';

/** Numbers in [0, 1) that follow from the seed alone (mulberry32). */
export function createRandom(seed: number): () => number {
  let state = (seed * 0x9e3779b9) >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Virtual time: what is scheduled runs in order of time, then of scheduling. */
export class VirtualTime implements CoordinationClock {
  readonly #events: { readonly atMs: number; readonly run: () => void }[] = [];
  #nowMs = 0;
  steps = 0;

  nowMs(): number {
    return this.#nowMs;
  }

  after(ms: number, run: () => void): void {
    const atMs = this.#nowMs + Math.max(0, ms);
    let low = 0;
    let high = this.#events.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#events[middle]!.atMs > atMs) low = middle + 1;
      else high = middle;
    }
    this.#events.splice(low, 0, { atMs, run });
  }

  sleep(ms: number): Promise<void> {
    return new Promise((resolve) => this.after(ms, resolve));
  }

  /** Runs until that time, or until `isDone`; after each event everything that follows from it. */
  async runUntil(ms: number, isDone: () => boolean = () => false): Promise<void> {
    for (;;) {
      const next = this.#events.at(-1);
      if (next === undefined || next.atMs > ms || isDone()) return;
      this.#events.pop();
      this.#nowMs = next.atMs;
      this.steps++;
      next.run();
      // Ticks come when no promise is left to settle, and cost no turn of the event loop.
      await new Promise<void>((resolve) => process.nextTick(resolve));
    }
  }
}

/** How an acceptor may be wrong; the simulator must catch each. */
export interface AcceptorRules {
  readonly step: (state: AcceptorState, message: ConsensusMessage) => AcceptorStep;
  /** Replies before the state is on disk. */
  readonly repliesEarly: boolean;
  /** Starts without its file after a crash. */
  readonly forgetsAll: boolean;
}

export const CORRECT_RULES: AcceptorRules = { step: stepAcceptor, repliesEarly: false, forgetsAll: false };

/** An acceptor with a disk of its own: crashes lose what was not synced, or lose the reply of what was. */
export class SimulatedAcceptor {
  readonly #time: VirtualTime;
  readonly #random: () => number;
  readonly #rules: AcceptorRules;
  readonly #disk = new Map<string, AcceptorState>();
  #memory = new Map<string, AcceptorState>();
  #incarnation = 0;
  #syncedUntilMs = 0;
  isUp = true;

  constructor(time: VirtualTime, random: () => number, rules: AcceptorRules) {
    this.#time = time;
    this.#random = random;
    this.#rules = rules;
  }

  handle(message: ConsensusMessage, answer: (reply: ConsensusReply) => void): void {
    if (!this.isUp) return;
    const state = this.#memory.get(message.key) ?? EMPTY_ACCEPTOR;
    const step = this.#rules.step(state, message);
    const incarnation = this.#incarnation;
    if (step.state !== state) {
      this.#memory.set(message.key, step.state);
      const syncMs = (this.#rules.repliesEarly ? 40 : 4) * this.#random() + 0.5;
      this.#syncedUntilMs = Math.max(this.#syncedUntilMs, this.#time.nowMs()) + syncMs;
      this.#time.after(this.#syncedUntilMs - this.#time.nowMs(), () => {
        if (incarnation === this.#incarnation) this.#disk.set(message.key, step.state);
      });
    }
    if (this.#rules.repliesEarly) return answer(step.reply);
    this.#time.after(this.#syncedUntilMs - this.#time.nowMs(), () => {
      if (incarnation === this.#incarnation) answer(step.reply);
    });
  }

  crash(): void {
    this.isUp = false;
    this.#incarnation++;
    this.#syncedUntilMs = 0;
    if (this.#rules.forgetsAll) this.#disk.clear();
  }

  restart(): void {
    if (this.isUp) return;
    this.#memory = new Map(this.#disk);
    this.isUp = true;
  }
}

/** Carries messages between clients and acceptors: loses, delays, doubles and so reorders them. */
export class SimulatedNetwork {
  readonly #time: VirtualTime;
  readonly #random: () => number;
  readonly #cut = new Set<string>();
  isFaulty = true;

  constructor(time: VirtualTime, random: () => number) {
    this.#time = time;
    this.#random = random;
  }

  cut(link: string): void {
    this.#cut.add(link);
  }

  heal(): void {
    this.#cut.clear();
  }

  deliver(link: string, run: () => void): void {
    const copies = this.isFaulty && this.#random() < 0.05 ? 2 : 1;
    for (let copy = 0; copy < copies; copy++) {
      const isLost = this.#cut.has(link) || (this.isFaulty && this.#random() < 0.06);
      const isSlow = this.isFaulty && this.#random() < 0.05;
      const delayMs = 0.2 + this.#random() * (isSlow ? 150 : 3);
      if (!isLost) this.#time.after(delayMs, run);
    }
  }
}
