import type { NodeId } from '../../../src/model/node.ts';
import type { VirtualTime } from '../../../src/testing/simulation/virtual-time.ts';

/**
 * An operating system's process: what arrives while it is suspended is done when it goes on, in the order of
 * arrival; what was meant for an earlier life of it is not done at all.
 */
export class Process {
  readonly #time: VirtualTime;
  readonly #stops = new Set<string>();
  #backlog: (() => void)[] = [];
  isUp = false;
  life = 0;
  /** Since when it has been running without being suspended. */
  runsSinceMs = 0;

  constructor(time: VirtualTime) {
    this.#time = time;
  }

  get isStopped(): boolean {
    return this.#stops.size > 0;
  }

  get isRunning(): boolean {
    return this.isUp && this.#stops.size === 0;
  }

  begin(): void {
    this.isUp = true;
    this.life++;
    this.runsSinceMs = this.#time.nowMs();
  }

  end(): void {
    this.isUp = false;
    this.life++;
    this.#backlog = [];
    this.#stops.clear();
  }

  /** SIGSTOP by one of several: it goes on when the last of them lets it. */
  stop(who: string): void {
    if (this.isUp) this.#stops.add(who);
  }

  resume(who: string): void {
    if (!this.#stops.delete(who) || this.#stops.size > 0) return;
    this.runsSinceMs = this.#time.nowMs();
    const backlog = this.#backlog;
    this.#backlog = [];
    const { life } = this;
    for (const run of backlog) this.deliver(life, run);
  }

  deliver(life: number, run: () => void): void {
    if (!this.isUp || life !== this.life) return;
    if (this.#stops.size > 0) this.#backlog.push(run);
    else run();
  }
}

/** A machine with clocks of its own, a disk, and up to three processes. */
export class Host {
  readonly name: NodeId;
  readonly index: number;
  readonly time: VirtualTime;
  readonly random: () => number;
  /** How fast its monotonic clock runs; within half of the assumed drift. */
  readonly rate: number;
  readonly agent: Process;
  readonly watchdog: Process;
  readonly postgres: Process;
  readonly #offsetMs: number;
  /** Its wall clock is set now and then. */
  wallJumpMs = 0;
  isDown = false;
  isDiskFull = false;
  /** What it asks of acceptors gets lost, and pings do not, as with an etcd that it cannot reach. */
  isUnregistered = false;
  /** Pings do not come through, and all else does: a firewall between agents. */
  isDeaf = false;
  isDiskHung = false;

  constructor(
    time: VirtualTime,
    random: () => number,
    name: NodeId,
    index: number,
    rate: number,
    offsetMs: number,
  ) {
    this.time = time;
    this.random = random;
    this.name = name;
    this.index = index;
    this.rate = rate;
    this.#offsetMs = offsetMs;
    this.agent = new Process(time);
    this.watchdog = new Process(time);
    this.postgres = new Process(time);
  }

  /** The monotonic clock. */
  nowMs(): number {
    return this.#offsetMs + this.time.nowMs() * this.rate;
  }

  wallMs(): number {
    return this.nowMs() + this.wallJumpMs;
  }

  /** Runs in that process after so long by this machine's clock. */
  after(process: Process, ms: number, run: () => void): void {
    const { life } = process;
    this.time.after(ms / this.rate, () => process.deliver(life, run));
  }

  between(lowMs: number, highMs: number): number {
    return lowMs + this.random() * (highMs - lowMs);
  }
}
