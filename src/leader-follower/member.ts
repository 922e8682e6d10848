import type { Clock } from '../model/clock.ts';
import type { NodeId } from '../model/node.ts';
import { BetweenRounds } from './between-rounds.ts';
import { findNode, othersOf } from './config/config.ts';
import type { ClusterConfig, NodeConfig } from './config/config.ts';
import { openCoordination, openSeal } from './config/coordination.ts';
import type { OpenCoordination } from './config/coordination.ts';
import { createLiveConfig } from './config/live-config.ts';
import { Fence } from './leadership/fence.ts';
import { PromiseToLeader } from './leadership/promise-to-leader.ts';
import { CLUSTER_KEY, RegisterReader } from './leadership/register-reader.ts';
import { claimFolder } from './local/node-folder.ts';
import { createMemberAnswers } from './members/member-answers.ts';
import type { MemberAnswers } from './members/member-answers.ts';
import { serveAgent } from './peers/api.ts';
import type { AgentApi } from './peers/api.ts';
import { News } from './peers/news.ts';
import type { Change } from './peers/news.ts';
import { Peers } from './peers/peers.ts';
import type { OpenPeers, PeersPort } from './ports.ts';
import type { EventLog } from './report/event-log.ts';
import { describeCluster, describeSelf } from './report/self-report.ts';
import type { OwnVoteReport, ReportSources } from './report/self-report.ts';

export interface MemberOptions {
  readonly config: ClusterConfig;
  readonly node: string;
  readonly stateDir: string;
  readonly clock: Clock;
}

/** Answers the others, and people, from `api` until it is closed. Rejects with CONFIG_INVALID where it cannot. */
type OpenDoor = (api: AgentApi) => Promise<{ close(): Promise<void> }>;

/** What a member stands on. A simulation gives it a clock, a network and registers of its own. */
export interface MemberFoundation {
  readonly config: ClusterConfig;
  readonly node: NodeConfig;
  readonly coordination: OpenCoordination;
  readonly events: EventLog;
  readonly clock: Clock;
  readonly openPeers: OpenPeers;
  readonly openDoor: OpenDoor;
}

/** What a member does beside voting, supporting and telling. */
export interface MemberWork {
  /** What it answers when it is asked for more than every member is. */
  readonly api: Omit<AgentApi, keyof MemberAnswers>;
  readonly describe: () => ReportSources;
  /** One round. Returns how long to wait for the next; what it throws ends the member. */
  readonly round: () => Promise<number>;
}

/**
 * What every agent of a cluster is, with PostgreSQL or without: it reads the register, has links to the others, votes,
 * supports the leader, fences when a candidate asks, and tells what it knows.
 */
export class Member {
  /** cluster.json, whatever came and went since. */
  readonly seed: ClusterConfig;
  /** See live-config.ts. */
  readonly config: ClusterConfig;
  readonly node: NodeConfig;
  readonly coordination: OpenCoordination;
  readonly clock: Clock;
  readonly events: EventLog;
  readonly register: RegisterReader;
  readonly peers: PeersPort;
  readonly promise: PromiseToLeader;
  readonly fence: Fence = new Fence();
  readonly news: News;
  readonly betweenRounds: BetweenRounds = new BetweenRounds(() => this.wake());
  readonly #openDoor: OpenDoor;
  readonly #closing = new AbortController();
  #wake: () => void = () => undefined;
  #door: { close(): Promise<void> } | null = null;

  /** Opens the node's folder. Throws CONFIG_INVALID when it belongs to another cluster, or its `consensus.json` is gone. */
  static async open(options: MemberOptions, events: EventLog): Promise<Member> {
    const { config, stateDir, clock } = options;
    const node = findNode(config, options.node);
    const { folder, isNew } = await claimFolder(stateDir, config, node.name);
    const seal = openSeal(config, node.name);
    const onNoVote = (reason: string): void => events.addSeldom('error', reason);
    const coordination = await openCoordination({ config, node, seal, folder, isNew, onNoVote, clock });
    const { host, agentPort: port } = node;
    return new Member({
      config,
      node,
      coordination,
      events,
      clock,
      openPeers: (listener) => new Peers(othersOf(config, node.name), seal, clock, listener),
      openDoor: (api) => serveAgent({ api, host, port, seal, clock }),
    });
  }

  constructor(foundation: MemberFoundation) {
    const { config: seed, node, coordination, events, clock } = foundation;
    this.seed = seed;
    this.node = node;
    this.coordination = coordination;
    this.events = events;
    this.clock = clock;
    this.#openDoor = foundation.openDoor;
    this.news = new News(clock);
    this.register = new RegisterReader(coordination.registers, clock);
    this.config = createLiveConfig(seed, () => this.register.known.state);
    this.peers = foundation.openPeers({
      onChange: () => this.wake(),
      onDistrust: (reason) => events.addSeldom('error', reason),
    });
    this.promise = new PromiseToLeader(seed.supportMs, clock, () => {
      this.news.statusChanged();
      this.wake();
    });
    events.subscribe((event) => this.news.tell(event));
    this.register.onNewLeader(() => this.promise.grant(seed.supportMs));
    coordination.registers.watch(CLUSTER_KEY, () => this.wake());
  }

  get self(): NodeId {
    return this.node.name;
  }

  get isClosing(): boolean {
    return this.#closing.signal.aborted;
  }

  /** Begins the next round at once. */
  readonly wake = (): void => this.#wake();

  /** Answers from here on. Throws CONFIG_INVALID when the node's port is taken. */
  async serve({ api, describe }: MemberWork): Promise<void> {
    this.#door = await this.#openDoor({ ...createMemberAnswers(this, describe), ...api });
  }

  /** One round after the other until {@link close}. */
  async runRounds({ round }: MemberWork): Promise<void> {
    while (!this.isClosing) {
      const woken = new Promise<void>((resolve) => (this.#wake = resolve));
      const pauseMs = await round();
      await Promise.race([woken, this.clock.sleep(pauseMs, this.#closing.signal)]);
    }
  }

  /** Tells what is new to those who listen. */
  publish(sources: ReportSources): void {
    const vote = this.ownVote();
    this.news.publish(describeCluster(sources, this.peers.reports(), vote), describeSelf(sources, vote));
  }

  ownVote(): OwnVoteReport {
    return { acceptor: this.coordination.acceptor, obstacle: this.coordination.voteObstacle() };
  }

  /** A restarted node may have given its position to a candidate before, at the newest of `versions` at the latest. */
  fenceEarlierLife(...versions: readonly number[]): void {
    if (!this.fence.isKnown) this.fence.raise(Math.max(...versions));
  }

  /** Calls `listener` with each new topology and event. */
  subscribe(listener: (change: Change) => void): () => void {
    return this.news.subscribe(listener);
  }

  /** The round under way is the last. */
  beginClosing(): void {
    this.#closing.abort();
  }

  async close(): Promise<void> {
    this.beginClosing();
    this.promise.close();
    this.peers.close();
    await this.coordination.close();
    await this.#door?.close();
  }
}
