import { saveLostWrites } from './rejoin/lost-writes.ts';
import type { ExecutorOptions } from './agent-parts.ts';
import { every } from '../clock/every.ts';
import { LockstepError } from '../model/errors.ts';
import type { NodeId, Term } from '../model/node.ts';
import { nextTimeline } from '../model/timeline.ts';
import { describeLacking } from '../postgres/follower-minimums.ts';
import { findNode } from './config/config.ts';
import type { Action } from './core/action.ts';
import { lostLog } from './core/rejoin.ts';
import { RetryDelay } from './rejoin/core/retry-delay.ts';
import { countedOthers } from './core/sync-policy.ts';
import { formatSynchronousStandbyNames, syncSetForElection } from './core/sync-set.ts';
import { campaign } from './election/election.ts';
import type { Observation } from './observer.ts';
import { ensureRoles } from './config/roles.ts';
import { LeaderDuties } from './duties/leader-duty.ts';
import { ShownLogKeeper } from './duties/shown-log-keeper.ts';
import { SlotKeeper } from './duties/slot-keeper.ts';
import type { TakeoverReply, TakeoverRequest } from './report/status.ts';
import { describeTakeover, Successor } from './switchover/successor.ts';
import { SUPPORT_TIMEOUT_MS } from './patience.ts';
import { switchOver } from './switchover/switchover.ts';
import type { SwitchoverResult } from './switchover/switchover.ts';
import { SyncSetKeeper } from './duties/sync-set-keeper.ts';
import { promotionTimeline } from './rejoin/timelines.ts';

/** Ships what only it has; past that it is ended by force. */
const HAND_OVER_STOP_MS = 2_000;
/** Between failed copies, this agent looks around as often. */
const CLONE_RETRY_CHECK_MS = 500;
/** While a copy runs, it looks as often whether another leads. */
const CLONE_WATCH_MS = 500;

/** Does what was decided. It decides nothing itself, except to stop when the world changed meanwhile. */
export class Executor {
  readonly #options: ExecutorOptions;
  readonly #successor: Successor;
  readonly #slots: SlotKeeper;
  readonly #duties: LeaderDuties;
  #hasRewindFailed = false;
  #failedPromotions: { readonly term: Term; readonly count: number } | null = null;
  #savedLoss = '';
  readonly #cloneRetry = new RetryDelay({ firstMs: 1_000, longestMs: 60_000 });
  #lastCampaignNote = '';

  constructor(options: ExecutorOptions) {
    this.#options = options;
    this.#slots = new SlotKeeper(options);
    this.#duties = new LeaderDuties([new SyncSetKeeper(options), this.#slots, new ShownLogKeeper(options)]);
    this.#successor = new Successor(options, this.#slots);
  }

  get successor(): Successor {
    return this.#successor;
  }

  get hasRewindFailed(): boolean {
    return this.#hasRewindFailed;
  }

  /** In the present term. */
  get failedPromotions(): number {
    const failed = this.#failedPromotions;
    return failed?.term === this.#options.register.known.state?.leadership.term ? (failed?.count ?? 0) : 0;
  }

  async execute(action: Action, observation: Observation): Promise<void> {
    const { config, hold, local, events } = this.#options;
    // Whatever else there is to do, it does not lead any more.
    if (action.kind !== 'lead') this.#duties.stop();
    switch (action.kind) {
      case 'found-cluster':
        if (await this.#found()) events.add('elected', `leads the new cluster ${config.name}`);
        return;
      case 'create-data-folder':
        return local.create();
      case 'start':
        await local.start();
        events.add('started', `PostgreSQL runs as a follower: ${action.reason}`);
        this.tellRaised();
        return;
      case 'restart':
        await local.stop('fast');
        events.add('stopped', `PostgreSQL restarts: ${action.reason}`);
        return;
      case 'clone':
        await this.#saveLost(observation, action.from);
        return this.#clone(action.from, action.reason);
      case 'rewind':
        await this.#saveLost(observation, action.from);
        return this.#rewind(action.from, action.reason, observation);
      case 'detach':
        return local.detach();
      case 'follow':
        if (this.#isOutdated(observation)) return;
        await local.follow(findNode(config, action.leader));
        this.#slots.dataChanged();
        events.add('following', `follows ${action.leader} in term ${action.term}`);
        return;
      case 'campaign':
        return this.#campaign(observation, action);
      case 'promote':
        return this.#promote();
      case 'lead':
        return this.#lead(observation);
      case 'keep-slots':
        if (hasArrived(observation)) await local.settle();
        return this.#slots.keepAsFollower();
      case 'demote':
        hold.drop();
        await local.stop('immediate');
        events.add('demoted', `PostgreSQL stopped: ${action.reason}`);
        return;
      case 'hand-over':
        if (action.inOrder) await local.stop('fast', HAND_OVER_STOP_MS);
        else await local.endByForce();
        await hold.release(null);
        events.add('demoted', `handed over: ${action.reason}`);
        return;
      case 'release':
        await hold.release(null);
        events.add('demoted', `gave the lease up: ${action.reason}`);
        return;
      case 'refuse':
        throw new LockstepError(
          'CONFIG_INVALID',
          `Node ${this.#options.self} does not take part: ${action.reason}. Nothing was changed.`,
        );
      default:
        action satisfies never;
    }
  }

  #since(startedAtMs: number): string {
    return seconds(this.#options.clock.nowMs() - startedAtMs);
  }

  /** Says which of the node's own settings PostgreSQL was not started with. */
  tellRaised(): void {
    const { raised } = this.#options.local.server;
    if (raised.length === 0) return;
    const message = `its own settings are too low for the leader's log, so that it runs with what that needs: ${describeLacking(raised)}`;
    this.#options.events.add('note', message);
  }

  #found(): Promise<boolean> {
    const { config, register, hold } = this.#options;
    const { version, state } = register.known;
    return state === null
      ? hold.found({ required: config.synchronousFollowers, members: [] })
      : hold.campaign(version, state, state.sync, null);
  }

  /**
   * A candidate may have asked for this node's position since it looked around: it must not go back to the holder
   * that it saw then, which could acknowledge commits by it that the candidate does not know of.
   */
  #isOutdated({ view }: Observation): boolean {
    return view.register === null || !this.#options.fence.allows(view.register.version);
  }

  /** What this node committed and the leader does not have is put aside before it is taken away. */
  async #saveLost(observation: Observation, from: NodeId): Promise<void> {
    const { local, events, register } = this.#options;
    const { view } = observation;
    const leader = view.peers.find((peer) => peer.name === from)?.history ?? null;
    if (view.local.kind !== 'follower' || view.local.endLsn === null || leader === null) return;
    const lost = lostLog(view.local.history, view.local.endLsn, leader);
    const key = JSON.stringify([lost?.fork.timeline, String(lost?.fork.forkedAt), String(lost?.endLsn)]);
    // A rejoin that is tried again takes the same away.
    if (lost === null || key === this.#savedLoss) return;
    const term = register.known.state?.leadership.term ?? 0;
    const { history } = view.local;
    const result = await local.changes.run('rejoining', 'saving lost commits', () =>
      saveLostWrites({
        node: this.#options.self,
        folder: local.folder,
        dataDir: local.dataDir,
        ...local.programs,
        lost,
        history,
        term,
        withClient: (task, database) => local.withClient(task, database),
        clock: this.#options.clock,
      }),
    );
    this.#savedLoss = key;
    if (result.kind === 'failed') {
      events.add('error', `what only this node has could not be put aside: ${result.reason}`);
    } else if (result.kind === 'saved') {
      events.add('lost-writes', result.message);
      for (const path of result.removed) events.add('lost-writes', `removed the older ${path}: too many`);
    }
  }

  /**
   * Copies the leader anew, as a person asked. It stops to receive before: what it confirms while the copy runs would be in
   * its old data only, and might not be on its disk again before the leader is lost.
   */
  async reclone(isDiscarding: boolean): Promise<void> {
    const { self, local, register, hold } = this.#options;
    const holder = register.known.state?.leadership.holder;
    if (holder === undefined || holder === self || hold.ownLease.kind !== 'none') {
      throw new LockstepError('NO_LEADER', 'There is no other leader to copy from; see "lockstep status".');
    }
    await local.detach();
    if (isDiscarding) await local.discardData(true);
    this.#cloneRetry.succeeded();
    await this.#clone(holder, isDiscarding ? 'as asked, without its old data' : 'as asked');
    this.#slots.dataChanged();
  }

  async #clone(from: NodeId, reason: string): Promise<void> {
    const { config, local, events, register, clock } = this.#options;
    const waitMs = this.#cloneRetry.waitMs(this.#options.clock.nowMs());
    if (waitMs > 0) return clock.sleep(Math.min(waitMs, CLONE_RETRY_CHECK_MS));
    const term = register.known.state?.leadership.term;
    const ended = new AbortController();
    const endWatch = every(clock, CLONE_WATCH_MS, () => {
      // Nobody else reads it while the copy runs. One from a deposed leader could hold what the new one has not.
      void register.refresh().catch(() => undefined);
      if (register.known.state?.leadership.term !== term) ended.abort();
    });
    const startedAtMs = this.#options.clock.nowMs();
    try {
      await local.clone(findNode(config, from), ended.signal);
    } catch (error) {
      // A new leader is no failure of the disk or the network.
      if (!ended.signal.aborted) this.#cloneRetry.failed(this.#options.clock.nowMs());
      throw error;
    } finally {
      endWatch();
    }
    this.#cloneRetry.succeeded();
    this.#hasRewindFailed = false;
    events.add('cloned', `copied ${from} in ${this.#since(startedAtMs)}: ${reason}`);
  }

  async #rewind(from: NodeId, reason: string, observation: Observation): Promise<void> {
    const { config, local, events } = this.#options;
    if (this.#isOutdated(observation)) return;
    const startedAtMs = this.#options.clock.nowMs();
    const failure = await local.rewind(findNode(config, from));
    this.#slots.dataChanged();
    if (failure === null) {
      events.add('rewound', `rewound to ${from} in ${this.#since(startedAtMs)}: ${reason}`);
      this.tellRaised();
      return;
    }
    this.#hasRewindFailed = true;
    events.add('error', `pg_rewind failed (${failure}); cloning ${from} instead`);
  }

  async #campaign(
    observation: Observation,
    { ground, reason }: Extract<Action, { kind: 'campaign' }>,
  ): Promise<void> {
    const { register, events } = this.#options;
    const known = observation.view.register;
    if (known === null || known.state === null) return;
    const startedAtMs = this.#options.clock.nowMs();
    const result = await campaign({ ...this.#options, ground, version: known.version, state: known.state });
    if (result.kind === 'lost') {
      const note = `not elected: ${result.reason}`;
      // Tried every tick until it may lead: one line is enough.
      if (note !== this.#lastCampaignNote) events.add('leader-lost', note);
      this.#lastCampaignNote = note;
      return;
    }
    this.#lastCampaignNote = '';
    const term = register.known.state?.leadership.term ?? 0;
    events.add(
      'elected',
      `elected for term ${term} in ${this.#since(startedAtMs)} (${result.reason}); ${reason}`,
    );
    if (observation.view.local.kind === 'follower') await this.#promote();
  }

  async #promote(onServing: () => void = () => undefined): Promise<void> {
    const { self, config, register, hold, local, events, coming } = this.#options;
    const state = register.known.state;
    // The process may have been suspended since it won: the lease tells.
    if (state === null || hold.ownLease.kind !== 'held') return;
    const startedAtMs = this.#options.clock.nowMs();
    const { required, members } = state.sync;
    // What elections count on, whatever the configuration says by now.
    const standbyNames = formatSynchronousStandbyNames(
      required,
      members.filter((name) => name !== self),
    );
    // Known to all before PostgreSQL takes it: a successor that never hears of this timeline must not use its number.
    const announced = state.leadership.announcedTimeline ?? null;
    const timeline = await promotionTimeline(local, announced);
    if (timeline === null || !(await hold.announce(timeline))) return;
    const { term } = state.leadership;
    await local.promote(standbyNames).catch((error: unknown) => {
      this.#failedPromotions = { term, count: this.failedPromotions + 1 };
      throw error;
    });
    coming.ended();
    events.add('promoted', `accepts writes in term ${term}, promoted in ${this.#since(startedAtMs)}`);
    const prepareRoles = (): Promise<void> => local.withClient((client) => ensureRoles(client, config));
    const isFounding = state.systemIdentifier === null;
    // Clients hear of a new cluster's leader when they can log in; an old one has its roles.
    if (isFounding) await prepareRoles();
    onServing();
    await this.#options.onPromoted();
    await this.#duties.start({ standbyNames });
    await this.#recordPromotion();
    if (!isFounding) await prepareRoles();
    // pg_rewind reads the new timeline off the control file, which a checkpoint writes.
    void local.withClient((client) => client.query('CHECKPOINT')).catch(() => undefined);
  }

  /** Tells candidates which timeline they must descend from. */
  async #recordPromotion(): Promise<void> {
    const { hold, local } = this.#options;
    const [seen, systemIdentifier] = await Promise.all([local.probe(), local.systemIdentifier()]);
    if (seen === null || seen.isInRecovery) return;
    await hold.update((state) => ({
      ...state,
      systemIdentifier,
      leadership: { ...state.leadership, timeline: seen.timeline, announcedTimeline: null },
    }));
  }

  async #lead(observation: Observation): Promise<void> {
    const { register } = this.#options;
    const { probe } = observation;
    if (probe === null) return;
    if (register.known.state?.leadership.timeline !== probe.timeline) await this.#recordPromotion();
    await this.#options.nodes.step(probe.synchronousStandbyNames);
    await this.#duties.step(probe);
  }

  /** The agent ends. */
  close(): void {
    this.#duties.stop();
  }

  /** Hands the leadership over; see {@link switchOver}. */
  switchover(to: NodeId | null): Promise<SwitchoverResult> {
    return switchOver(this.#options, to, async () => {
      const { hold, local, events } = this.#options;
      // The old version is spent first: a successor that was told it can do nothing with it any more.
      if (!(await hold.goOn())) return false;
      await local.start();
      await this.#promote();
      events.add('switchover', 'called off; leads on');
      return true;
    });
  }

  /**
   * As a switchover's successor: takes the register over from the leader that let go, and promotes. It
   * answers as soon as writes are accepted; what a new leader does besides comes after.
   */
  async takeOver(request: TakeoverRequest, answer: (reply: TakeoverReply) => void): Promise<void> {
    const { self, config, register, hold, events, coming } = this.#options;
    const startedAtMs = this.#options.clock.nowMs();
    const { decision, end } = await this.#successor.judge(request);
    if (decision.kind === 'refuse') return answer({ kind: 'refused', reason: decision.reason });
    const { version, state } = request;
    const sync = syncSetForElection(state.sync, self, countedOthers(config.nodes, self, state.policy));
    if (!(await hold.campaign(version, state, sync, end && nextTimeline(end.newestTimeline)))) {
      return answer({ kind: 'refused', reason: 'the register has moved on' });
    }
    coming.won(end);
    await hold.untilHeld(SUPPORT_TIMEOUT_MS);
    const term = register.known.state?.leadership.term ?? 0;
    events.add(
      'elected',
      `took over term ${term} in ${this.#since(startedAtMs)}; ${describeTakeover(request)}`,
    );
    await this.#promote(() => answer({ kind: 'leads' }));
    // Counts only when the promotion did not come to that.
    answer({ kind: 'refused', reason: 'its lease ran out before it was promoted' });
  }
}

/** Whether this follower has log of the timeline that its leader writes. */
function hasArrived({ view }: Observation): boolean {
  const leader = view.peers.find(({ name }) => name === view.register?.state?.leadership.holder);
  return view.local.kind === 'follower' && view.local.history.timeline === leader?.history?.timeline;
}

function seconds(passedMs: number): string {
  return `${(passedMs / 1_000).toFixed(2)} s`;
}
