import { SimulatedNetwork } from '../../../src/testing/simulation/network.ts';
import type { NetworkFaults } from '../../../src/testing/simulation/network.ts';
import type { VirtualTime } from '../../../src/testing/simulation/virtual-time.ts';
import type { Host, Process } from './host.ts';

/** How long a message of a machine to itself takes. */
const LOOPBACK_MS = 0.02;

/** The network between machines; what arrives goes to a process of the machine, if that still lives. */
export class Network {
  readonly #time: VirtualTime;
  readonly #links: SimulatedNetwork<number>;

  constructor(time: VirtualTime, random: () => number) {
    this.#time = time;
    this.#links = new SimulatedNetwork(time, random, { quickestMs: 0.15, spreadMs: 1.5 });
  }

  get faults(): NetworkFaults {
    return this.#links.faults;
  }

  /** Nothing gets from one to the other, until it is mended as often as it was cut. */
  cut(from: Host, to: Host): void {
    this.#links.cut(linkOf(from, to));
  }

  mend(from: Host, to: Host): void {
    this.#links.mend(linkOf(from, to));
  }

  heal(): void {
    this.#links.heal();
  }

  isCut(from: Host, to: Host): boolean {
    return this.#links.isCut(linkOf(from, to));
  }

  send(from: Host, to: Host, process: Process, run: () => void): void {
    const arrive = (): void => {
      if (!to.isDown) process.deliver(process.life, run);
    };
    if (from === to) this.#time.after(LOOPBACK_MS, arrive);
    else this.#links.send(linkOf(from, to), arrive);
  }
}

function linkOf(from: Host, to: Host): number {
  return from.index * 64 + to.index;
}
