import { createRescue, serveRescue } from './delayed/rescue-api.ts';
import type { Rescue } from './delayed/rescue.ts';
import { setTimeout as delay } from 'node:timers/promises';
import type { AgentSeal } from '../coordination/agent-seal.ts';
import { LockstepError } from '../model/errors.ts';
import { reachableBinaries, resolveAccount } from '../postgres/account.ts';
import { findPostgres } from '../postgres/binaries.ts';
import { AgentCommands } from './agent-commands.ts';
import { serveAgent } from './peers/api.ts';
import { BetweenRounds } from './between-rounds.ts';
import { ComingLeadership } from './leadership/coming-leadership.ts';
import { findNode, othersOf } from './config/config.ts';
import type { ClusterConfig, NodeConfig } from './config/config.ts';
import { openCoordination, openSeal } from './config/coordination.ts';
import type { OpenCoordination } from './config/coordination.ts';
import { decide } from './core/decide.ts';
import { isSteady, pauseAfter, TICK_MS } from './core/pause.ts';
import { answerFence } from './leadership/answer-fence.ts';
import { ownPing } from './leadership/own-ping.ts';
import { EventLog } from './report/event-log.ts';
import { Executor } from './executor.ts';
import { Fence } from './leadership/fence.ts';
import { chooseKernelWatchdog } from './local/choose-kernel-watchdog.ts';
import { CLUSTER_KEY, LeadershipRegister } from './leadership/leadership.ts';
import { LocalNode } from './local/local-node.ts';
import { createLiveConfig } from './config/live-config.ts';
import { Membership } from './members/membership.ts';
import { releaseInOrder } from './leadership/orderly-release.ts';
import { Merits } from './election/merits.ts';
import type { LocalNodeListener } from './local/local-node-options.ts';
import { createMemberAnswers } from './members/member-answers.ts';
import type { MemberAnswers } from './members/member-answers.ts';
import { News } from './peers/news.ts';
import type { Change } from './peers/news.ts';
import { claimFolder } from './local/node-folder.ts';
import { NodeKeeper } from './members/node-keeper.ts';
import { isEndHidden, observe } from './observer.ts';
import type { Observation } from './observer.ts';
import { Peers } from './peers/peers.ts';
import { PlannedWork } from './plan/planned-work.ts';
import { PromiseToLeader } from './leadership/promise-to-leader.ts';
import type { ReportSources } from './report/self-report.ts';
import { memberSetsOf, SupportOfMembers } from './leadership/support-of-members.ts';
import { WriteHealth } from './local/write-health.ts';

/** A failing action is tried again, but not in a tight loop. */
const RETRY_MS = 1_000;

export interface AgentOptions {
  readonly config: ClusterConfig;
  readonly node: string;
  readonly stateDir: string;
}

/** One agent beside one PostgreSQL: observe, decide, act, until it is closed. */
export class Agent {
  readonly #config: ClusterConfig;
  /** cluster.json, whatever came and went since. */
  readonly #nodes: NodeKeeper;
  readonly #membership: Membership;
  readonly #node: NodeConfig;
  readonly #seal: AgentSeal;
  readonly #coordination: OpenCoordination;
  readonly #register: LeadershipRegister;
  readonly #planned: PlannedWork;
  readonly #local: LocalNode;
  readonly #peers: Peers;
  readonly #events: EventLog;
  readonly #merits: Merits;
  readonly #executor: Executor;
  readonly #commands: AgentCommands;
  readonly #fence = new Fence();
  readonly #coming: ComingLeadership;
  readonly #promise: PromiseToLeader;
  readonly #support: SupportOfMembers;
  readonly #writeHealth: WriteHealth;
  readonly #news = new News();
  readonly #betweenRounds = new BetweenRounds(() => this.#wake());
  readonly #answers: MemberAnswers;
  readonly #rescue: Rescue | null;
  readonly #closing = new AbortController();
  #wake: () => void = () => undefined;
  #last: Observation | null = null;
  #lastError = '';
  #server: { close(): Promise<void> } | null = null;

  /** Opens the node's folder and finds PostgreSQL; touches nothing that belongs to another cluster. */
  static async open(options: AgentOptions): Promise<Agent> {
    const { config, stateDir } = options;
    const node = findNode(config, options.node);
    const account = await resolveAccount();
    const binaries = await reachableBinaries(await findPostgres(config.postgres), account);
    const { folder, isNew } = await claimFolder(stateDir, config, node.name);
    const seal = openSeal(config, node.name);
    const events = new EventLog(node.name);
    const onNoVote = (reason: string): void => events.addSeldom('error', reason);
    const kernelWatchdog = await chooseKernelWatchdog(config, onNoVote);
    const coordination = await openCoordination({ config, node, seal, folder, isNew, onNoVote });
    return new Agent(
      config,
      node,
      seal,
      events,
      coordination,
      (live, listener) =>
        new LocalNode({ config: live, node, stateDir, binaries, account, kernelWatchdog, ...listener }),
    );
  }

  private constructor(
    seed: ClusterConfig,
    node: NodeConfig,
    seal: AgentSeal,
    events: EventLog,
    coordination: OpenCoordination,
    createLocal: (config: ClusterConfig, listener: LocalNodeListener) => LocalNode,
  ) {
    const config = createLiveConfig(seed, () => this.#register.known.state);
    this.#config = config;
    this.#node = node;
    this.#seal = seal;
    this.#coordination = coordination;
    this.#events = events;
    this.#events.subscribe((event) => this.#news.tell(event));
    this.#local = createLocal(config, {
      onUnexpectedExit: (reason) => {
        this.#events.add('stopped', `PostgreSQL stopped: ${reason}`);
        this.#wake();
      },
      onProblem: (problem) => this.#events.addSeldom('error', problem),
      onFrozen: (reason) => {
        this.#events.add('fenced', reason === null ? 'PostgreSQL goes on' : `PostgreSQL frozen: ${reason}`);
      },
      onLogTimeline: () => void this.#betweenRounds.ask(async () => this.#rescue?.changeTimeline()),
    });
    this.#register = new LeadershipRegister({
      self: node.name,
      ttlMs: config.leaseTtlMs,
      supportMs: config.supportMs,
      coordination: coordination.registers,
      support: () => this.#support,
      onDeadlines: (deadlines) => this.#local.server.setDeadlines(deadlines),
      onTaking: () => this.#support.forget(),
      onWon: () => this.#support.ping(),
      onDeposed: () => {
        if (this.#local.following === null && !this.#rescue?.isActive) this.#local.kill('another node leads');
        this.#wake();
      },
      onNewLeader: () => this.#promise.grant(config.supportMs),
    });
    this.#planned = new PlannedWork({
      self: node.name,
      coordination: coordination.registers,
      local: this.#local,
      events: this.#events,
      wake: () => this.#wake(),
      switchover: async (to) => this.#commands.switchOver(to),
    });
    this.#promise = new PromiseToLeader(config.supportMs, () => this.#statusChanged());
    this.#support = new SupportOfMembers({
      self: node.name,
      memberSets: () => memberSetsOf(config, this.#register),
      supportMs: config.supportMs,
      currentPing: () =>
        ownPing({
          self: node.name,
          register: this.#register,
          supportMs: config.supportMs,
          failingForMs: this.#writeHealth.failingForMs,
          isPaused: this.#planned.register.isPaused,
        }),
      sendPing: (ping) => this.#peers.ping(ping),
      onMoved: () => this.#register.moved(),
    });
    this.#writeHealth = new WriteHealth(this.#local.server, () => {
      return this.#register.ownLease.kind !== 'none' && this.#isServing();
    });
    this.#peers = new Peers(othersOf(seed, node.name), seal, {
      onChange: () => this.#wake(),
      onPong: (from, supports, sentAtMs) => {
        if (supports) this.#support.heard(from, sentAtMs);
      },
      onDistrust: (reason) => this.#events.addSeldom('error', reason),
    });
    const parts = {
      self: node.name,
      config,
      node,
      register: this.#register,
      local: this.#local,
      peers: this.#peers,
      events: this.#events,
    };
    this.#membership = new Membership(parts);
    this.#merits = new Merits({
      config,
      node,
      local: this.#local,
      peers: this.#peers,
      onRoom: (message, room) => this.#events.add(room === 'low' ? 'error' : 'note', message),
    });
    this.#coming = new ComingLeadership(this.#register, () => this.#news.statusChanged());
    this.#nodes = new NodeKeeper({
      self: node.name,
      seed,
      config,
      register: this.#register,
      peers: this.#peers,
      coordination,
      events: this.#events,
      betweenRounds: this.#betweenRounds,
    });
    this.#executor = new Executor({
      ...parts,
      nodes: this.#nodes,
      merits: this.#merits,
      fence: this.#fence,
      coming: this.#coming,
      onPromoted: async () => void (await this.#observe()),
    });
    this.#commands = new AgentCommands({
      ...parts,
      fence: this.#fence,
      executor: this.#executor,
      betweenRounds: this.#betweenRounds,
    });
    this.#rescue = createRescue(parts);
    this.#answers = createMemberAnswers({
      coordination,
      register: this.#register,
      peers: this.#peers,
      events: this.#events,
      news: this.#news,
      fence: this.#fence,
      promise: this.#promise,
      describe: () => this.#sources(),
      wake: () => this.#wake(),
    });
    coordination.registers.watch(CLUSTER_KEY, () => this.#wake());
  }

  /** Runs until {@link close}. Throws CONFIG_INVALID when this node must not take part. */
  async run(): Promise<void> {
    this.#server = await serveAgent({
      api: {
        ...this.#answers,
        plan: this.#planned.register,
        fence: (request) =>
          answerFence(
            { register: this.#register, promise: this.#promise, fence: this.#fence, local: this.#local },
            request,
          ),
        switchover: async (to) => this.#commands.switchOver(to),
        restart: () => this.#commands.restart(),
        reclone: (isDiscarding) => this.#commands.reclone(isDiscarding),
        changeNodes: (command) => this.#nodes.change(command),
        prepare: () => this.#betweenRounds.ask(() => this.#executor.successor.prepare()),
        takeOver: (request) => this.#commands.takeOver(request),
        rescue: this.#rescue && serveRescue(this.#rescue, this.#betweenRounds),
      },
      host: this.#node.host,
      port: this.#node.agentPort,
      seal: this.#seal,
    });
    await this.#rescue?.load();
    while (!this.#closing.signal.aborted) {
      const woken = new Promise<void>((resolve) => (this.#wake = resolve));
      const pauseMs = await this.#tick();
      await Promise.race([
        woken,
        delay(pauseMs, undefined, { signal: this.#closing.signal }).catch(() => undefined),
      ]);
    }
  }

  /** Stops PostgreSQL in order; a leader gives its lease up so that nobody has to wait for it. */
  async close(): Promise<void> {
    this.#closing.abort();
    // While the cluster is paused nobody takes over from a leader that restarts.
    const isLeading = this.#register.ownLease.kind !== 'none' && !this.#planned.register.isPaused;
    await this.#rescue?.settled();
    await this.#local.close();
    if (isLeading) {
      await releaseInOrder({
        self: this.#node.name,
        config: this.#config,
        register: this.#register,
        peers: this.#peers,
      });
    }
    this.#register.drop();
    this.#executor.close();
    this.#merits.close();
    this.#planned.close();
    this.#support.close();
    this.#promise.close();
    this.#writeHealth.close();
    this.#peers.close();
    await this.#coordination.close();
    await this.#server?.close();
  }

  /** Calls `listener` with each new topology and event. */
  subscribe(listener: (change: Change) => void): () => void {
    return this.#news.subscribe(listener);
  }

  #sources(): ReportSources {
    return {
      config: this.#config,
      self: this.#node.name,
      register: this.#register,
      plan: this.#planned.register.known,
      facts: this.#planned.facts,
      local: this.#local,
      last: this.#last,
      hasLostLeader: this.#promise.lostForMs > 0,
      promotesFrom: this.#coming.promotesFrom,
      measures: this.#merits.own(),
      copies: this.#commands.copies,
    };
  }

  /** One round of observe, decide, act. Returns how long to wait for the next. */
  async #tick(): Promise<number> {
    try {
      await this.#betweenRounds.run();
      await this.#executor.successor.untilCalled();
      await this.#betweenRounds.run();
      const observation = await this.#observe();
      if (!(await this.#membership.keep())) return TICK_MS;
      this.#rescue?.keep();
      if (this.#rescue?.isActive === true) {
        await this.#rescue.step();
        return TICK_MS;
      }
      const actions = await this.#planned.allowed(decide(observation.view));
      for (const action of actions) {
        if (this.#closing.signal.aborted) return 0;
        await this.#executor.execute(action, observation);
      }
      this.#lastError = '';
      if (this.#register.ownLease.kind === 'held' && this.#isServing()) this.#planned.keepTime();
      if (!isSteady(actions)) await this.#observe();
      return pauseAfter(actions, isEndHidden(observation));
    } catch (error) {
      if (error instanceof LockstepError && (error.code === 'CONFIG_INVALID' || error.code === 'INVARIANT'))
        throw error;
      const message = (error as Error).message;
      if (message !== this.#lastError && !this.#closing.signal.aborted) this.#events.add('error', message);
      this.#lastError = message;
      return RETRY_MS;
    }
  }

  async #observe(): Promise<Observation> {
    const { version } = this.#register.known;
    const observation = await observe({
      self: this.#node.name,
      config: this.#config,
      register: this.#register,
      local: this.#local,
      peers: this.#peers,
      fencedAtVersion: this.#fence.version,
      leaderLostForMs: this.#promise.lostForMs,
      writeHealth: this.#writeHealth,
      hasRewindFailed: this.#executor.hasRewindFailed,
      failedPromotions: this.#executor.failedPromotions,
      merits: this.#merits,
    });
    // A restarted node may have given its position to a candidate before.
    if (!this.#fence.isKnown && observation.view.register !== null) {
      this.#fence.raise(Math.max(version, observation.view.register.version));
    }
    this.#last = observation;
    this.#news.publish(this.#answers.topology(), this.#answers.status());
    return observation;
  }

  #isServing(): boolean {
    const kind = this.#last?.view.local.kind;
    // Suspended it does not answer, which must not look like having stopped to lead.
    return (kind === 'leader' || kind === 'silent') && this.#local.server.isRunning;
  }

  #statusChanged(): void {
    this.#news.statusChanged();
    this.#wake();
  }
}
