import { createHash } from 'node:crypto';
import type { ConsensusReply } from '../../src/consensus/acceptor.ts';
import type { Register } from '../../src/coordination/contract.ts';
import { createEmbeddedCoordination } from '../../src/coordination/embedded.ts';
import type { AcceptorTransport, EmbeddedCoordination } from '../../src/coordination/embedded.ts';
import { parseNodeId } from '../../src/model/node.ts';
import {
  CORRECT_RULES,
  createRandom,
  SimulatedAcceptor,
  SimulatedNetwork,
  VirtualTime,
} from './consensus-world.ts';
import type { AcceptorRules } from './consensus-world.ts';
import { findViolation } from './register-history.ts';
import type { Observation, SimulatedValue } from './register-history.ts';

export interface Variant {
  readonly rules: AcceptorRules;
  /** The name in the ballots of a client's n-th start. */
  readonly proposerIdOf: (client: string, start: number) => string;
  /** How many voters a proposer asks; below all of them its quorum need not meet another's. */
  readonly askedVoters: number;
  /** What a proposer makes of a reply. */
  readonly distort: (reply: ConsensusReply) => ConsensusReply;
}

export const CORRECT: Variant = {
  rules: CORRECT_RULES,
  proposerIdOf: (client, start) => `${client}${start}`,
  askedVoters: 3,
  distort: (reply) => reply,
};

export interface SimulationResult {
  readonly violation: string | null;
  readonly steps: number;
  readonly applied: number;
  readonly reads: number;
  readonly hash: string;
}

const KEY = 'cluster';
const VOTERS = ['a', 'b', 'c'].map(parseNodeId);
const FAULTS_END_MS = 1_600;
const HEALED_WITHIN_MS = 4_000;

/** One run: clients, acceptors and a bad network under one seed, then a healed world that must make progress. */
export async function simulate(seed: number, variant: Variant = CORRECT): Promise<SimulationResult> {
  const world = new World(seed, variant);
  return world.run();
}

interface Client {
  readonly name: string;
  incarnation: number;
  known: Register;
  /** Applied writes and reads since the world was healed. */
  progress: Set<string>;
}

class World {
  readonly #variant: Variant;
  readonly #random: () => number;
  readonly #time = new VirtualTime();
  readonly #network: SimulatedNetwork;
  readonly #acceptors: ReadonlyMap<string, SimulatedAcceptor>;
  readonly #clients: readonly Client[];
  readonly #observations: Observation[] = [];
  readonly #watched: string[] = [];
  readonly #values = new Map<string, SimulatedValue>();
  #writes = 0;

  constructor(seed: number, variant: Variant) {
    this.#variant = variant;
    this.#random = createRandom(seed);
    this.#network = new SimulatedNetwork(this.#time, this.#random);
    this.#acceptors = new Map(
      VOTERS.map((voter) => [voter, new SimulatedAcceptor(this.#time, this.#random, variant.rules)]),
    );
    this.#clients = ['p', 'q', 'r'].map((name) => ({
      name,
      incarnation: 0,
      known: { version: 0, value: undefined },
      progress: new Set(),
    }));
  }

  async run(): Promise<SimulationResult> {
    for (const client of this.#clients) this.#start(client);
    this.#scheduleFault();
    await this.#time.runUntil(FAULTS_END_MS);
    this.#network.isFaulty = false;
    this.#network.heal();
    for (const acceptor of this.#acceptors.values()) acceptor.restart();
    for (const client of this.#clients) client.progress.clear();
    const isRecovered = (): boolean => this.#clients.every((client) => client.progress.size === 2);
    await this.#time.runUntil(FAULTS_END_MS + HEALED_WITHIN_MS, isRecovered);
    const unsafe = this.#watched[0] ?? findViolation(this.#observations, this.#values);
    return {
      violation:
        unsafe ?? (isRecovered() ? null : `no progress within ${HEALED_WITHIN_MS} ms after all was healed`),
      steps: this.#time.steps,
      applied: this.#observations.filter(({ kind }) => kind === 'applied').length,
      reads: this.#observations.filter(({ kind }) => kind === 'read').length,
      hash: createHash('sha256').update(JSON.stringify(this.#observations)).digest('hex'),
    };
  }

  #start(client: Client): void {
    const incarnation = client.incarnation;
    const coordination = createEmbeddedCoordination({
      voters: this.#askedBy(client),
      transport: this.#transportOf(client, incarnation),
      proposerId: this.#variant.proposerIdOf(client.name, incarnation),
      messageTimeoutMs: 60,
      callTimeoutMs: 400,
      watchIntervalMs: 100,
      random: this.#random,
      clock: this.#time,
    });
    this.#watch(client, incarnation, coordination);
    void this.#work(client, incarnation, coordination);
  }

  #askedBy(client: Client): typeof VOTERS {
    const first = this.#clients.indexOf(client);
    return VOTERS.map((_, index) => VOTERS[(first + index) % VOTERS.length]!).slice(
      0,
      this.#variant.askedVoters,
    );
  }

  #transportOf(client: Client, incarnation: number): AcceptorTransport {
    return {
      send: (to, message, timeoutMs) =>
        new Promise((resolve, reject) => {
          if (client.incarnation !== incarnation) return;
          const link = `${client.name}-${to}`;
          const sent = overTheWire(message);
          this.#time.after(
            timeoutMs,
            () => client.incarnation === incarnation && reject(new Error('timeout')),
          );
          this.#network.deliver(link, () =>
            this.#acceptors.get(to)!.handle(sent, (reply) => {
              const told = overTheWire(this.#variant.distort(reply));
              this.#network.deliver(link, () => client.incarnation === incarnation && resolve(told));
            }),
          );
        }),
    };
  }

  #watch(client: Client, incarnation: number, coordination: EmbeddedCoordination): void {
    let last = 0;
    const startMs = this.#time.nowMs();
    coordination.watch(KEY, ({ version, value }) => {
      if (client.incarnation !== incarnation) return;
      if (version <= last) this.#watched.push(`watch told version ${version} after ${last}`);
      last = version;
      // What a watch tells was true at some time since it began, no more: it takes part in the fork check only.
      this.#observations.push({ kind: 'read', startMs, endMs: Infinity, version, id: idOf(value) });
    });
  }

  /** One call after the other until this incarnation ends. */
  async #work(client: Client, incarnation: number, coordination: EmbeddedCoordination): Promise<void> {
    for (;;) {
      await this.#time.sleep(this.#random() * 25);
      if (client.incarnation !== incarnation) return;
      const call =
        this.#random() < 0.4 ? this.#read(client, coordination) : this.#compareAndSet(client, coordination);
      const observation = await call;
      if (client.incarnation !== incarnation) return;
      if (observation === null) continue;
      this.#observations.push(observation);
      client.progress.add(observation.kind === 'read' ? 'read' : 'write');
    }
  }

  async #read(client: Client, coordination: EmbeddedCoordination): Promise<Observation | null> {
    const startMs = this.#time.nowMs();
    const register = await coordination.read(KEY).catch(() => null);
    if (register === null) return null;
    client.known = register;
    return {
      kind: 'read',
      startMs,
      endMs: this.#time.nowMs(),
      version: register.version,
      id: idOf(register.value),
    };
  }

  async #compareAndSet(client: Client, coordination: EmbeddedCoordination): Promise<Observation | null> {
    const startMs = this.#time.nowMs();
    const expectedVersion = client.known.version;
    const refusedId = `${client.name}${client.incarnation}-${++this.#writes}`;
    const value = { id: refusedId, parentId: idOf(client.known.value), parentVersion: expectedVersion };
    this.#values.set(refusedId, value);
    const result = await coordination.compareAndSet(KEY, expectedVersion, value);
    const endMs = this.#time.nowMs();
    if (result.kind === 'unknown') return null;
    if (result.kind === 'applied') {
      client.known = result.register;
      return {
        kind: 'applied',
        startMs,
        endMs,
        version: result.register.version,
        id: idOf(result.register.value) ?? '',
      };
    }
    client.known = result.current;
    const { version } = result.current;
    return {
      kind: 'conflict',
      startMs,
      endMs,
      version,
      id: idOf(result.current.value),
      expectedVersion,
      refusedId,
    };
  }

  #scheduleFault(): void {
    this.#time.after(20 + this.#random() * 120, () => {
      if (this.#time.nowMs() >= FAULTS_END_MS) return;
      this.#inject(this.#random());
      this.#scheduleFault();
    });
  }

  #inject(dice: number): void {
    const acceptor = this.#acceptors.get(VOTERS[Math.floor(this.#random() * VOTERS.length)]!)!;
    const client = this.#clients[Math.floor(this.#random() * this.#clients.length)]!;
    if (dice < 0.5) {
      acceptor.crash();
      this.#time.after(this.#random() * 150, () => acceptor.restart());
    } else if (dice < 0.75) {
      client.incarnation++;
      client.known = { version: 0, value: undefined };
      this.#start(client);
    } else {
      for (const voter of VOTERS) if (this.#random() < 0.5) this.#network.cut(`${client.name}-${voter}`);
      this.#time.after(this.#random() * 200, () => this.#network.heal());
    }
  }
}

function overTheWire<T>(message: T): T {
  return JSON.parse(JSON.stringify(message)) as T;
}

function idOf(value: unknown): string | null {
  return (value as SimulatedValue | undefined)?.id ?? null;
}
