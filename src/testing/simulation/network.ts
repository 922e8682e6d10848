import type { Clock } from '../../model/clock.ts';

/** How a simulated network misbehaves: shares of messages from 0 to 1, times in milliseconds. */
export interface NetworkFaults {
  /** Messages that arrive twice. */
  doubledShare: number;
  lostShare: number;
  /** Messages that take up to `slowMs` longer than the quickest. */
  slowShare: number;
  slowMs: number;
}

/**
 * Carries messages between the parts of a simulation: loses, delays, doubles and so reorders them. A link has
 * a direction and any name; it may be cut several times, and works again when it was mended as often.
 */
export class SimulatedNetwork<Link extends string | number = string> {
  readonly #clock: Clock;
  readonly #random: () => number;
  readonly #cuts = new Map<Link, number>();
  readonly faults: NetworkFaults;
  readonly #quickestMs: number;
  readonly #spreadMs: number;

  constructor(
    clock: Clock,
    random: () => number,
    options: {
      readonly quickestMs: number;
      readonly spreadMs: number;
      readonly faults?: Partial<NetworkFaults>;
    },
  ) {
    this.#clock = clock;
    this.#random = random;
    this.#quickestMs = options.quickestMs;
    this.#spreadMs = options.spreadMs;
    this.faults = { doubledShare: 0, lostShare: 0, slowShare: 0, slowMs: 400, ...options.faults };
  }

  /** Nothing gets through, what is under way included, until it is mended as often as it was cut. */
  cut(link: Link): void {
    this.#cuts.set(link, (this.#cuts.get(link) ?? 0) + 1);
  }

  mend(link: Link): void {
    this.#cuts.set(link, Math.max(0, (this.#cuts.get(link) ?? 0) - 1));
  }

  /** Mends every link; the faults stay. */
  mendAll(): void {
    this.#cuts.clear();
  }

  /** Nothing is cut, lost, doubled or slow any more. */
  heal(): void {
    this.mendAll();
    Object.assign(this.faults, { doubledShare: 0, lostShare: 0, slowShare: 0 });
  }

  isCut(link: Link): boolean {
    return (this.#cuts.get(link) ?? 0) > 0;
  }

  /** `arrive` runs once, twice or never. */
  send(link: Link, arrive: () => void): void {
    const { doubledShare, lostShare, slowShare, slowMs } = this.faults;
    const copies = this.#happens(doubledShare) ? 2 : 1;
    for (let copy = 0; copy < copies; copy++) {
      if (this.#happens(lostShare)) continue;
      const spreadMs = this.#happens(slowShare) ? slowMs : this.#spreadMs;
      const delayMs = this.#quickestMs + this.#random() * spreadMs;
      if (this.isCut(link)) continue;
      this.#clock.after(delayMs, () => {
        if (!this.isCut(link)) arrive();
      });
    }
  }

  /** What never happens takes no number, so that a calm network leaves the seed's numbers to others. */
  #happens(share: number): boolean {
    return share > 0 && this.#random() < share;
  }
}
