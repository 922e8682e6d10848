import { createRescue, serveRescue } from './delayed/rescue-api.ts';
import type { Rescue } from './delayed/rescue.ts';
import { LockstepError } from '../model/errors.ts';
import { reachableBinaries, resolveAccount } from '../postgres/account.ts';
import { findPostgres } from '../postgres/binaries.ts';
import { AgentCommands } from './agent-commands.ts';
import { ComingLeadership } from './leadership/coming-leadership.ts';
import { VotersToCome } from './leadership/coming-voters.ts';
import { decide } from './core/decide.ts';
import { isSteady, pauseAfter, TICK_MS } from './core/pause.ts';
import { answerFence } from './leadership/answer-fence.ts';
import { LeaderPings } from './leadership/leader-pings.ts';
import { EventLog } from './report/event-log.ts';
import { AcknowledgementWatch } from './report/acknowledgement-watch.ts';
import { LongWait } from './report/long-wait.ts';
import { waitingFor } from './core/waiting.ts';
import { Executor } from './executor.ts';
import { chooseKernelWatchdog } from './local/choose-kernel-watchdog.ts';
import { LeadershipHold } from './leadership/leadership-hold.ts';
import { failureWords } from './local/core/room-alarm.ts';
import type { KnownRegister } from './leadership/register-reader.ts';
import { LocalNode } from './local/local-node.ts';
import { Member } from './member.ts';
import type { MemberOptions, MemberWork } from './member.ts';
import { Membership } from './members/membership.ts';
import { releaseInOrder } from './leadership/orderly-release.ts';
import { Merits } from './election/merits.ts';
import type { LocalNodeListener } from './local/local-node-options.ts';
import type { Change } from './peers/news.ts';
import { NodeKeeper } from './members/node-keeper.ts';
import { isEndHidden, observe } from './observer.ts';
import type { Observation } from './observer.ts';
import { RETRY_MS } from './patience.ts';
import type { LocalPort } from './ports.ts';
import { PlannedWork } from './plan/planned-work.ts';
import type { ReportSources } from './report/self-report.ts';
import { memberSetsOf, SupportOfMembers } from './leadership/support-of-members.ts';
import { WriteHealth } from './local/write-health.ts';

/** One agent beside one PostgreSQL: observe, decide, act, until it is closed. */
export class Agent {
  readonly #member: Member;
  readonly #local: LocalPort;
  readonly #hold: LeadershipHold;
  readonly #nodes: NodeKeeper;
  readonly #membership: Membership;
  readonly #planned: PlannedWork;
  readonly #merits: Merits;
  readonly #executor: Executor;
  readonly #commands: AgentCommands;
  readonly #coming: ComingLeadership;
  readonly #pings: LeaderPings;
  readonly #writeHealth: WriteHealth;
  readonly #rescue: Rescue | null;
  readonly #longWait: LongWait;
  readonly #acknowledgement: AcknowledgementWatch;
  #last: Observation | null = null;
  #lastError = '';

  /** Opens the node's folder and finds PostgreSQL; touches nothing that belongs to another cluster. */
  static async open(options: MemberOptions): Promise<Agent> {
    const { config, stateDir } = options;
    const account = await resolveAccount();
    const binaries = await reachableBinaries(await findPostgres(config.postgres), account);
    const events = new EventLog(options.node);
    const member = await Member.open(options, events);
    const onUnused = (reason: string): void => events.addSeldom('error', reason);
    const kernelWatchdog = await chooseKernelWatchdog(config, onUnused).catch(async (error: unknown) => {
      await member.close();
      throw error;
    });
    const { config: live, node, clock } = member;
    const local = new LocalNode({
      config: live,
      node,
      stateDir,
      binaries,
      account,
      kernelWatchdog,
      clock,
      ...tellOf(member),
    });
    return new Agent(member, local);
  }

  constructor(member: Member, local: LocalPort) {
    const { self, seed, config, coordination, register, clock } = member;
    const { supportMs, leaseTtlMs: ttlMs } = config;
    this.#member = member;
    this.#local = local;
    const votersToCome = new VotersToCome(register);
    const memberSets = (): ReturnType<typeof memberSetsOf> => memberSetsOf(config, votersToCome);
    const support = new SupportOfMembers({ self, supportMs, memberSets });
    this.#hold = new LeadershipHold({
      self,
      ttlMs,
      supportMs,
      register,
      votersToCome,
      support,
      clock,
      coordination: coordination.registers,
      server: local.server,
    });
    this.#hold.onDeposed(() => this.#deposed());
    const parts = {
      self,
      config,
      register,
      clock,
      local,
      hold: this.#hold,
      votersToCome,
      node: member.node,
      peers: member.peers,
      events: member.events,
      fence: member.fence,
      betweenRounds: member.betweenRounds,
    };
    this.#membership = new Membership(parts);
    this.#merits = new Merits(parts);
    this.#coming = new ComingLeadership(register, () => member.news.statusChanged());
    this.#nodes = new NodeKeeper({ ...parts, seed, coordination });
    this.#executor = new Executor({
      ...parts,
      nodes: this.#nodes,
      merits: this.#merits,
      coming: this.#coming,
      // Clients wait to hear of it, and this node has written the register itself.
      onPromoted: async () => void (await this.#observe(member.register.known)),
    });
    this.#commands = new AgentCommands({
      ...parts,
      executor: this.#executor,
      isRescuing: () => this.#rescue?.isOn === true,
    });
    this.#planned = new PlannedWork({
      ...parts,
      coordination: coordination.registers,
      commands: this.#commands,
      wake: member.wake,
    });
    this.#writeHealth = new WriteHealth(local.server, clock, () => {
      return this.#hold.ownLease.kind !== 'none' && this.#isServing();
    });
    this.#pings = new LeaderPings({
      ...parts,
      supportMs,
      support,
      writeHealth: this.#writeHealth,
      plan: this.#planned.register,
    });
    this.#rescue = createRescue(parts);
    this.#acknowledgement = new AcknowledgementWatch(clock);
    this.#longWait = new LongWait(clock, (text) => member.events.add('note', text));
  }

  /** Runs until {@link close}. Throws CONFIG_INVALID when this node must not take part. */
  async run(): Promise<void> {
    const work: MemberWork = {
      api: this.#api(),
      describe: () => this.#sources(),
      round: () => this.#round(),
    };
    await this.#member.serve(work);
    await this.#rescue?.load();
    await this.#member.runRounds(work);
  }

  #api(): MemberWork['api'] {
    const { register, promise, fence, betweenRounds } = this.#member;
    const fenced = { register, promise, fence, hold: this.#hold, local: this.#local };
    return {
      plan: this.#planned.register,
      fence: (request) => answerFence(fenced, request),
      switchover: async (to) => this.#commands.switchOver(to),
      restart: () => this.#commands.restart(),
      reclone: (isDiscarding) => this.#commands.reclone(isDiscarding),
      changeNodes: (command) => this.#nodes.change(command),
      prepare: () => betweenRounds.ask(() => this.#executor.successor.prepare()),
      takeOver: (request) => this.#commands.takeOver(request),
      rescue: this.#rescue && serveRescue(this.#rescue, betweenRounds),
    };
  }

  /** Stops PostgreSQL in order; a leader gives its lease up so that nobody has to wait for it. */
  async close(): Promise<void> {
    const { self, config, peers } = this.#member;
    this.#member.beginClosing();
    // While the cluster is paused nobody takes over from a leader that restarts.
    const isLeading = this.#hold.ownLease.kind !== 'none' && !this.#planned.register.isPaused;
    await this.#rescue?.settled();
    await this.#local.close();
    if (isLeading) await releaseInOrder({ self, config, peers, hold: this.#hold });
    this.#hold.drop();
    this.#executor.close();
    this.#merits.close();
    this.#planned.close();
    this.#pings.close();
    this.#writeHealth.close();
    await this.#member.close();
  }

  /** Calls `listener` with each new topology and event. */
  subscribe(listener: (change: Change) => void): () => void {
    return this.#member.subscribe(listener);
  }

  #sources(): ReportSources {
    const { config, self, register, promise } = this.#member;
    return {
      config,
      self,
      register,
      ownLease: this.#hold.ownLease,
      plan: this.#planned.register.known,
      facts: this.#planned.facts,
      local: this.#local,
      last: this.#last,
      hasLostLeader: promise.lostForMs > 0,
      promotesFrom: this.#coming.promotesFrom,
      measures: this.#merits.own(),
      copies: this.#commands.copies,
      acknowledgement: this.#acknowledgement.seen,
    };
  }

  /** One round of observe, decide, act. Returns how long to wait for the next. */
  async #round(): Promise<number> {
    const { betweenRounds, events } = this.#member;
    try {
      await betweenRounds.run();
      await this.#executor.successor.untilCalled();
      await betweenRounds.run();
      const observation = await this.#observe();
      if (!(await this.#membership.keep())) return TICK_MS;
      this.#rescue?.keep();
      if (this.#rescue?.isActive === true) {
        await this.#rescue.step();
        return TICK_MS;
      }
      const actions = await this.#planned.allowed(decide(observation.view));
      for (const action of actions) {
        if (this.#member.isClosing) return 0;
        await this.#executor.execute(action, observation);
      }
      this.#lastError = '';
      if (this.#hold.ownLease.kind === 'held' && this.#isServing()) this.#planned.keepTime();
      if (!isSteady(actions)) await this.#observe();
      return pauseAfter(actions, isEndHidden(observation));
    } catch (error) {
      if (error instanceof LockstepError && (error.code === 'CONFIG_INVALID' || error.code === 'INVARIANT'))
        throw error;
      const message = failureWords((error as Error).message, this.#local.dataDir);
      if (message !== this.#lastError && !this.#member.isClosing) events.add('error', message);
      this.#lastError = message;
      return RETRY_MS;
    }
  }

  async #observe(written: KnownRegister | null = null): Promise<Observation> {
    const { self, config, register, peers, fence, promise } = this.#member;
    const { version } = register.known;
    const observation = await observe({
      written,
      self,
      config,
      register,
      peers,
      hold: this.#hold,
      local: this.#local,
      fencedAtVersion: fence.version,
      leaderLostForMs: promise.lostForMs,
      writeHealth: this.#writeHealth,
      hasRewindFailed: this.#executor.hasRewindFailed,
      failedPromotions: this.#executor.failedPromotions,
      merits: this.#merits,
    });
    const seen = observation.view.register;
    if (seen !== null) this.#member.fenceEarlierLife(version, seen.version);
    this.#last = observation;
    this.#acknowledgement.see(observation.probe, register.known.state?.sync.members ?? []);
    this.#longWait.see(waitingFor(observation.view));
    this.#member.publish(this.#sources());
    return observation;
  }

  #isServing(): boolean {
    const kind = this.#last?.view.local.kind;
    // Suspended it does not answer, which must not look like having stopped to lead.
    return (kind === 'leader' || kind === 'silent') && this.#local.server.isRunning;
  }

  #deposed(): void {
    if (this.#local.following === null && !this.#rescue?.isActive) this.#local.kill('another node leads');
    this.#member.wake();
  }
}

/** What befalls PostgreSQL becomes an event; where it ended, the next round comes at once. */
function tellOf({ events, wake }: Member): LocalNodeListener {
  return {
    onUnexpectedExit: (reason) => {
      events.add('stopped', `PostgreSQL stopped: ${reason}`);
      wake();
    },
    onProblem: (problem) => events.addSeldom('error', problem),
    onFrozen: (reason) => {
      events.add('fenced', reason === null ? 'PostgreSQL goes on' : `PostgreSQL frozen: ${reason}`);
    },
  };
}
