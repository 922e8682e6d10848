import type { ConsensusMessage, ConsensusReply, VersionedValue } from '../../../src/consensus/acceptor.ts';
import type { ClusterState } from '../../../src/leader-follower/core/cluster-state.ts';
import { parseNodeId, parseTerm } from '../../../src/model/node.ts';
import type { NodeId } from '../../../src/model/node.ts';
import { ModelAgent } from './agent.ts';
import { Checker } from './checker.ts';
import { ModelAcceptor } from './coordination.ts';
import type { VirtualTime } from '../../../src/testing/simulation/virtual-time.ts';
import { Host } from './host.ts';
import { Network } from './network.ts';
import { ModelPostgres } from './postgres.ts';
import { FIRST_TIMELINE } from './wal.ts';
import type { Durability, Entry, Surroundings } from './wal.ts';
import { DEFAULT_LEASE_TTL_MS } from '../../../src/leader-follower/patience.ts';
import type { MutantName } from './rules.ts';

export interface ClusterOptions {
  readonly time: VirtualTime;
  readonly random: () => number;
  readonly nodes: number;
  /** How many of them do not vote at first: the last ones. */
  readonly guests: number;
  /** The last node stays behind on purpose. */
  readonly isLastDelayed: boolean;
  readonly required: number;
  /** Its leaders hand over to a successor that takes over; else they give the lease up, as when nobody answers. */
  readonly handsOver: boolean;
  readonly mutant: MutantName | null;
  /** Hears every note; null where nobody reads them. */
  readonly transcript: ((line: string) => void) | null;
}

/** Half of the assumed drift of 10%, less what the watchdog's check interval takes of it. */
const MAX_DRIFT = 0.04;

/** The machines, what runs on them, and the network between. */
export class Cluster {
  readonly time: VirtualTime;
  readonly random: () => number;
  readonly network: Network;
  readonly names: readonly NodeId[];
  /** Those that found the cluster, the first ones: they have acceptors, and vote until that changes. */
  readonly members: readonly NodeId[];
  /** They stay behind on purpose. */
  readonly delayed: readonly NodeId[];
  readonly agents: readonly ModelAgent[];
  readonly required: number;
  readonly handsOver: boolean;
  readonly mutant: MutantName | null;
  readonly checker: Checker;
  readonly #transcript: ((line: string) => void) | null;
  nonces = 0;
  /** A leader sends a change of members now. */
  onMembersSent: (leader: Host, members: readonly NodeId[]) => void = () => undefined;
  #entries = 0;

  constructor(options: ClusterOptions) {
    const { time, random } = options;
    this.time = time;
    this.random = random;
    this.required = options.required;
    this.handsOver = options.handsOver;
    this.mutant = options.mutant;
    this.#transcript = options.transcript;
    this.network = new Network(time, random);
    this.names = Array.from({ length: options.nodes }, (_, index) => parseNodeId(`n${index + 1}`));
    this.members = this.names.slice(0, options.nodes - options.guests);
    this.delayed = options.isLastDelayed ? this.names.slice(-1) : [];
    const surroundings: Surroundings = {
      network: this.network,
      listener: {
        onAcknowledged: (server, entry, durability) => this.#onAcknowledged(server, entry, durability),
        onPromoted: (server) => {
          this.note(
            server.host,
            () => `PostgreSQL leads timeline ${server.history.timeline} from ${server.log.length}`,
          );
          this.checker.onPromoted(server);
        },
        onUnconfirmed: (server) => this.checker.onUnconfirmed(server),
        onStreaming: (follower, leader) => this.checker.onStreaming(follower, leader),
        onNote: (host, text) => this.note(host, text),
      },
      nextEntryId: () => ++this.#entries,
      serverOf: (name) => this.serverOf(name),
    };
    const isDrifting = random() < 0.5;
    this.agents = this.names.map((name, index) => {
      // Clocks at the ends of what is allowed show more than those in between.
      const drift = isDrifting ? Math.sign(random() - 0.5) : 2 * random() - 1;
      const rate = 1 + drift * MAX_DRIFT;
      const host = new Host(time, random, name, index, rate, Math.floor(random() * 100_000));
      const server = new ModelPostgres(host, surroundings);
      const listener = { onDurable: this.#onDurable };
      return new ModelAgent(this, host, server, new ModelAcceptor(host, options.mutant, listener));
    });
    this.checker = new Checker(
      time,
      this.agents.map(({ host, server, watchdog }) => ({
        host,
        server,
        mayWrite: () => watchdog.mayWrite(),
      })),
      this.members.length,
      this.delayed,
    );
  }

  readonly #onDurable = (host: Host, state: Parameters<Checker['onDurable']>[1]): void =>
    this.checker.onDurable(host, state);

  agentOf(name: NodeId): ModelAgent {
    return this.agents[this.names.indexOf(name)]!;
  }

  /** The others that commits may wait for. */
  countedBy({ name }: Host): readonly NodeId[] {
    return this.names.filter((other) => other !== name && !this.delayed.includes(other));
  }

  /** It tells an election no position. */
  isKeptBack({ name }: Host): boolean {
    return this.delayed.includes(name) && this.mutant !== 'delayed-may-lead';
  }

  serverOf(name: NodeId): ModelPostgres {
    return this.agentOf(name).server;
  }

  /** Who votes by that state of the register. */
  membersOf(state: ClusterState | null): readonly NodeId[] {
    if (state?.votersEpoch === undefined) return this.members;
    return (state.nodes ?? []).filter(({ voter }) => voter === true).map(({ name }) => name);
  }

  /** A cluster that was shut down in order: everybody has the same data, and the lease was given up. */
  installFormed(): void {
    const leader = this.names[0]!;
    const history = FIRST_TIMELINE;
    const log: Entry[] = [1, 2, 3].map(() => ({ id: ++this.#entries, history }));
    for (const { server } of this.agents) server.replaceData(log, history.timeline);
    const state: ClusterState = {
      systemIdentifier: 'cluster',
      leadership: {
        holder: leader,
        term: parseTerm(1),
        nonce: 'before',
        ttlMs: DEFAULT_LEASE_TTL_MS.embedded,
        isReleased: true,
        successor: null,
        timeline: history.timeline,
      },
      sync: {
        required: this.required,
        members: this.names.slice(1).filter((name) => !this.delayed.includes(name)),
      },
    };
    const ballot = { counter: 1, proposer: 'before' };
    const accepted: VersionedValue = { version: 1, value: state, operation: 'before:1' };
    for (const { acceptor } of this.agents.slice(0, this.members.length))
      acceptor.install({ promised: ballot, acceptedBallot: ballot, accepted });
  }

  /** A message to a voter's acceptor, and its answer, each of which may get lost or come twice. */
  consult(
    from: ModelAgent,
    voter: number,
    message: ConsensusMessage,
    answer: (reply: ConsensusReply) => void,
  ): void {
    const to = this.agents[voter]!;
    const { life } = from.host.agent;
    if (from.host.isUnregistered) return;
    this.network.send(from.host, to.host, to.host.agent, () =>
      to.acceptor.handle(message, (reply) =>
        this.network.send(to.host, from.host, from.host.agent, () => {
          if (from.host.agent.life === life) answer(reply);
        }),
      ),
    );
  }

  /** One request between agents; null when no answer came in time. */
  ask<T>(
    from: ModelAgent,
    to: ModelAgent,
    timeoutMs: number,
    request: (answer: (reply: T) => void) => void,
    done: (reply: T | null) => void,
  ): void {
    let isDone = false;
    const { life } = from.host.agent;
    const finish = (reply: T | null): void => {
      if (isDone || from.host.agent.life !== life) return;
      isDone = true;
      done(reply);
    };
    from.host.after(from.host.agent, timeoutMs, () => finish(null));
    this.network.send(from.host, to.host, to.host.agent, () =>
      request((reply) => this.network.send(to.host, from.host, from.host.agent, () => finish(reply))),
    );
  }

  readonly onCommitted = (
    kind: 'read' | 'applied' | 'conflict',
    seen: VersionedValue,
    newestAtBegin: number,
  ): void => this.checker.onSeen(kind, seen, newestAtBegin);

  note(host: Host | null, text: () => string): void {
    if (this.#transcript === null) return;
    const at = (this.time.nowMs() / 1_000).toFixed(4).padStart(9);
    this.#transcript(`${at} ${(host?.name ?? '--').padEnd(3)} ${text()}`);
  }

  #onAcknowledged(server: ModelPostgres, entry: Entry, durability: Durability): void {
    this.note(
      server.host,
      () => `acknowledges ${entry.id} (${durability}) at ${server.log.indexOf(entry) + 1}`,
    );
    this.checker.onAcknowledged(server, entry, durability);
  }
}
