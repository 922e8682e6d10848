import type { ConsensusReply } from '../../src/consensus/acceptor.ts';
import type { AgentVoterSet } from '../../src/coordination/embedded/agent-voters.ts';
import type { Register } from '../../src/coordination/contract.ts';
import { createEmbeddedCoordination } from '../../src/coordination/embedded/embedded.ts';
import type { AcceptorTransport, EmbeddedCoordination } from '../../src/coordination/embedded/embedded.ts';
import type { NodeId } from '../../src/model/node.ts';
import type { SimulatedAcceptor } from './consensus-world.ts';
import type { SimulatedNetwork } from '../../src/testing/simulation/network.ts';
import type { VirtualTime } from '../../src/testing/simulation/virtual-time.ts';
import type { RegisterHistory, SimulatedValue } from './register-history.ts';

/** The register whose values name the voters. */
export const CLUSTER = 'cluster';

export interface ClientWorld {
  readonly time: VirtualTime;
  readonly random: () => number;
  readonly network: SimulatedNetwork;
  readonly acceptors: ReadonlyMap<NodeId, SimulatedAcceptor>;
  readonly founders: readonly NodeId[];
  readonly askedFounders: number;
  readonly histories: ReadonlyMap<string, RegisterHistory>;
  /** The name in the ballots of a client's n-th start. */
  readonly proposerIdOf: (client: string, start: number) => string;
  /** What a proposer makes of a reply. */
  readonly distort: (reply: ConsensusReply) => ConsensusReply;
  /** Whether it starts without the voters that it knew, as the acceptor beside it does. */
  readonly forgetsVoters: boolean;
  /** The registers to be confirmed before voters change. */
  readonly carries: readonly string[];
  /** The voters to be proposed in place of these; null: none now. */
  readonly nextVoters: (set: AgentVoterSet) => AgentVoterSet | null;
}

/** One that reads and writes registers, changes voters, crashes and comes back. */
export class SimulatedClient {
  readonly name: string;
  readonly #world: ClientWorld;
  readonly #known = new Map<string, Register>();
  #incarnation = 0;
  #writes = 0;
  /** The newest voters that it heard of, which survive it. */
  voters: AgentVoterSet | null = null;
  /** What it read and wrote since this was cleared. */
  readonly progress: Set<string> = new Set();

  constructor(name: string, world: ClientWorld) {
    this.name = name;
    this.#world = world;
  }

  start(): void {
    const { time, random, founders, askedFounders, proposerIdOf } = this.#world;
    const incarnation = ++this.#incarnation;
    this.#known.clear();
    if (this.#world.forgetsVoters) this.voters = null;
    const first = this.name.charCodeAt(0);
    const coordination = createEmbeddedCoordination({
      voters: founders
        .map((_, index) => founders[(first + index) % founders.length]!)
        .slice(0, askedFounders),
      voterRegister: { key: CLUSTER, setOf: votersIn },
      knownVoters: this.voters,
      onVoters: (set) => {
        if (incarnation === this.#incarnation) this.voters = set;
      },
      transport: this.#transport(incarnation),
      proposerId: proposerIdOf(this.name, incarnation),
      messageTimeoutMs: 60,
      callTimeoutMs: 400,
      watchIntervalMs: 100,
      random,
      clock: time,
    });
    for (const [key, history] of this.#world.histories) this.#watch(key, history, incarnation, coordination);
    void this.#work(incarnation, coordination);
  }

  #transport(incarnation: number): AcceptorTransport {
    const { time, network, acceptors, distort } = this.#world;
    const isAlive = (): boolean => this.#incarnation === incarnation;
    return {
      send: (to, message, timeoutMs) =>
        new Promise((resolve, reject) => {
          if (!isAlive()) return;
          const link = `${this.name}-${to}`;
          const sent = overTheWire(message);
          time.after(timeoutMs, () => isAlive() && reject(new Error('timeout')));
          network.send(link, () =>
            acceptors.get(to)!.handle(sent, (reply) => {
              const told = overTheWire(distort(reply));
              network.send(link, () => isAlive() && resolve(told));
            }),
          );
        }),
    };
  }

  #watch(
    key: string,
    history: RegisterHistory,
    incarnation: number,
    coordination: EmbeddedCoordination,
  ): void {
    let last = 0;
    const startMs = this.#world.time.nowMs();
    coordination.watch(key, ({ version, value }) => {
      if (incarnation !== this.#incarnation) return;
      if (version <= last) history.watched.push(`watch told version ${version} after ${last}`);
      last = version;
      // What a watch tells was true at some time since it began, no more: it takes part in the fork check only.
      history.observations.push({ kind: 'read', startMs, endMs: Infinity, version, id: idOf(value) });
    });
  }

  /** One call after the other until this incarnation ends. */
  async #work(incarnation: number, coordination: EmbeddedCoordination): Promise<void> {
    const { time, random, histories } = this.#world;
    const keys = [...histories.keys()];
    for (;;) {
      await time.sleep(random() * 25);
      if (incarnation !== this.#incarnation) return;
      const key = keys[Math.floor(random() * keys.length)]!;
      await this.#call(random(), key, coordination, () => incarnation === this.#incarnation);
      if (incarnation !== this.#incarnation) return;
    }
  }

  #call(
    dice: number,
    key: string,
    coordination: EmbeddedCoordination,
    isAlive: () => boolean,
  ): Promise<void> {
    if (dice < 0.4) return this.#read(key, coordination, isAlive);
    const next = key === CLUSTER && dice > 0.45 ? this.#nextVoters() : null;
    if (next === null) return this.#write(key, null, coordination, isAlive);
    return this.#changeVoters(next, coordination, isAlive);
  }

  async #read(key: string, coordination: EmbeddedCoordination, isAlive: () => boolean): Promise<void> {
    const startMs = this.#world.time.nowMs();
    const register = await coordination.read(key).catch(() => null);
    if (register === null || !isAlive()) return;
    this.#known.set(key, register);
    const { version } = register;
    const endMs = this.#world.time.nowMs();
    this.#history(key).observations.push({ kind: 'read', startMs, endMs, version, id: idOf(register.value) });
    this.progress.add(`${key} read`);
  }

  #nextVoters(): AgentVoterSet | null {
    const { founders, nextVoters } = this.#world;
    const value = this.#known.get(CLUSTER)?.value;
    if (value === undefined) return null;
    const founding = founders.map((name) => ({ name, url: '', acceptor: null }));
    return nextVoters(votersIn(value) ?? { epoch: 0, voters: founding });
  }

  async #changeVoters(
    next: AgentVoterSet,
    coordination: EmbeddedCoordination,
    isAlive: () => boolean,
  ): Promise<void> {
    const before = this.#known.get(CLUSTER);
    for (const key of this.#world.carries) {
      if (!(await coordination.carry(key, next.epoch - 1)) || !isAlive()) return;
    }
    // Only in place of the value whose voters they follow.
    if (this.#known.get(CLUSTER) === before) await this.#write(CLUSTER, next, coordination, isAlive);
  }

  async #write(
    key: string,
    voters: AgentVoterSet | null,
    coordination: EmbeddedCoordination,
    isAlive: () => boolean,
  ): Promise<void> {
    const history = this.#history(key);
    const known = this.#known.get(key) ?? { version: 0, value: undefined };
    const refusedId = `${key}-${this.name}${this.#incarnation}-${++this.#writes}`;
    const value: SimulatedValue = {
      id: refusedId,
      parentId: idOf(known.value),
      parentVersion: known.version,
      voters: voters ?? votersIn(known.value),
    };
    history.values.set(refusedId, value);
    const { random, time } = this.#world;
    if (random() < 0.3) {
      coordination.expectWrite(key);
      await time.sleep(random() * 30);
      if (!isAlive()) return;
    }
    const startMs = time.nowMs();
    const result = await coordination.compareAndSet(key, known.version, value);
    if (!isAlive() || result.kind === 'unknown') return;
    const endMs = this.#world.time.nowMs();
    const seen = result.kind === 'applied' ? result.register : result.current;
    this.#known.set(key, seen);
    const { version } = seen;
    const id = idOf(seen.value);
    history.observations.push(
      result.kind === 'applied'
        ? { kind: 'applied', startMs, endMs, version, id: id ?? '' }
        : { kind: 'conflict', startMs, endMs, version, id, expectedVersion: known.version, refusedId },
    );
    this.progress.add(`${key} write`);
  }

  #history(key: string): RegisterHistory {
    return this.#world.histories.get(key)!;
  }
}

/** The voters that a value names; null: the founders. */
export function votersIn(value: unknown): AgentVoterSet | null {
  return (value as SimulatedValue | undefined)?.voters ?? null;
}

function overTheWire<T>(message: T): T {
  return JSON.parse(JSON.stringify(message)) as T;
}

function idOf(value: unknown): string | null {
  return (value as SimulatedValue | undefined)?.id ?? null;
}
