import { decide } from '../../../src/leader-follower/core/decide.ts';
import type { Action } from '../../../src/leader-follower/core/action.ts';
import type { SyncPolicy } from '../../../src/leader-follower/core/cluster-state.ts';
import { fenceRefusal } from '../../../src/leader-follower/core/support.ts';
import type { LocalPostgres, View } from '../../../src/leader-follower/core/view.ts';
import { parseTerm } from '../../../src/model/node.ts';
import type { NodeId } from '../../../src/model/node.ts';
import { describe, isRoutine } from './actions.ts';
import { campaign } from './campaign.ts';
import { RegisterClient } from './coordination.ts';
import type { KnownRegister, ModelAcceptor } from './coordination.ts';
import { TICK_MS } from '../../../src/leader-follower/core/pause.ts';
import { RETRY_MS, SILENT_AFTER_FAILING_MS } from '../../../src/leader-follower/patience.ts';
import { handOver, takeOver } from './hand-over.ts';
import type { TakeoverReply, TakeoverRequest } from './hand-over.ts';
import type { PeerStatus } from './heard-peers.ts';
import type { Host } from './host.ts';
import { ModelNews } from './news.ts';
import { ModelLeadership } from './leadership.ts';
import { ModelLocalNode } from './local-node.ts';
import type { FencedEnd } from './local-node.ts';
import type { ModelPostgres } from './postgres.ts';
import { ModelPromotion, SYSTEM_IDENTIFIER } from './promotion.ts';
import type { MutantName } from './rules.ts';
import { ModelWatchdog } from './watchdog.ts';
import { ModelWriteHealth } from './write-health.ts';
import type { Cluster } from './world.ts';

const SWITCHOVER_STOP_MS = 100;
const NOT_MODELLED = { from: null, suspendedForMs: 0, merits: [] };

interface AskedTakeover {
  readonly request: TakeoverRequest;
  readonly answer: (reply: TakeoverReply) => void;
}

export type FenceReply =
  { readonly kind: 'refused' } | { readonly kind: 'fenced'; readonly position: FencedEnd | null };

/** One machine's agent as the documents say, in callbacks under virtual time: observe, decide, act. */
export class ModelAgent {
  readonly host: Host;
  readonly server: ModelPostgres;
  readonly watchdog: ModelWatchdog;
  readonly acceptor: ModelAcceptor;
  readonly cluster: Cluster;
  leadership!: ModelLeadership;
  local!: ModelLocalNode;
  #promotion!: ModelPromotion;
  news!: ModelNews;
  #isTicking = false;
  #isWoken = false;
  #ticks = 0;
  #hasRewindFailed = false;
  #writeHealth!: ModelWriteHealth;
  #switchoverTo: NodeId | null = null;
  #takeover: AskedTakeover | null = null;
  #policy: SyncPolicy | null = null;

  constructor(cluster: Cluster, host: Host, server: ModelPostgres, acceptor: ModelAcceptor) {
    this.cluster = cluster;
    this.host = host;
    this.server = server;
    this.acceptor = acceptor;
    this.watchdog = new ModelWatchdog(host, server, cluster.mutant);
    server.onExit = () => this.#later(1, () => this.wake());
  }

  start(): void {
    if (this.host.agent.isUp || this.host.isDown) return;
    // What an earlier life left running is ended first.
    this.server.kill('left over from an earlier agent');
    const { cluster, host } = this;
    host.agent.begin();
    this.watchdog.forget();
    const { mutant } = cluster;
    const client = new RegisterClient({
      host,
      voters: cluster.members.length,
      mutant,
      proposerId: mutant === 'ballot-reuse' ? 'p' : `${host.name}-${host.agent.life}`,
      send: (voter, message, answer) => cluster.consult(this, voter, message, answer),
      onCommitted: cluster.onCommitted,
      newestVersion: () => cluster.checker.newestVersion,
    });
    this.leadership = new ModelLeadership({
      host,
      names: cluster.names,
      membersOf: (state) => cluster.membersOf(state),
      mutant,
      client,
      nonce: () => `${host.name}-${++cluster.nonces}`,
      isServing: () => this.#writeHealth.failingForMs <= SILENT_AFTER_FAILING_MS,
      sendPing: (ping, sentAtMs) => this.news.sendPing(ping, sentAtMs),
      onDeadlines: (deadlines) => this.watchdog.set(deadlines),
      onDeposed: () => {
        if (this.server.following === null) this.watchdog.kill('another node leads');
        this.wake();
      },
      onMembersSent: (members) => cluster.onMembersSent(host, members),
      onLost: () => {
        this.news.tell();
        this.wake();
      },
      wake: () => this.wake(),
    });
    this.local = new ModelLocalNode(host, cluster.network, this.server, this.watchdog, mutant);
    this.#promotion = new ModelPromotion(this, (seen) => this.#observe(seen));
    this.news = new ModelNews(this);
    this.#isTicking = false;
    this.#hasRewindFailed = false;
    this.#switchoverTo = null;
    this.#takeover = null;
    this.#policy = null;
    this.#writeHealth = new ModelWriteHealth(this);
    this.news.begin();
    this.#writeHealth.begin();
    this.#tick();
  }

  /** SIGKILL. Its acceptor goes with it; its watchdog sees the pipe close. */
  crash(): void {
    if (!this.host.agent.isUp) return;
    this.host.agent.end();
    this.acceptor.crash();
    this.watchdog.kill('the agent is gone');
  }

  requestSwitchover(to: NodeId): void {
    this.#switchoverTo = to;
    this.wake();
  }

  /** People ask; done between two rounds. */
  requestPolicy(policy: SyncPolicy): void {
    this.#policy = policy;
    this.wake();
  }

  /** A leader whose log has ended asks; answered between two rounds. */
  requestTakeover(request: TakeoverRequest, answer: (reply: TakeoverReply) => void): void {
    this.leadership.raiseFence(request.version);
    this.#takeover = { request, answer };
    this.wake();
  }

  /** A leader that hands over asks, so that this node is free to follow the next. */
  letGo(version: number): void {
    const { leadership } = this;
    if (leadership.known.version > version || leadership.ownLease.kind !== 'none') return;
    leadership.raiseFence(version);
    this.local.detach(() => undefined);
  }

  wake(): void {
    if (this.#isTicking) this.#isWoken = true;
    else this.#tick();
  }

  get mutant(): MutantName | null {
    return this.cluster.mutant;
  }

  #later(ms: number, run: () => void): void {
    this.host.after(this.host.agent, ms, run);
  }

  #tick(): void {
    const tick = ++this.#ticks;
    this.#isTicking = true;
    this.#isWoken = false;
    const end = (pauseMs: number): void => {
      this.#isTicking = false;
      if (this.#isWoken) return this.#later(0, () => tick === this.#ticks && this.#tick());
      this.#later(pauseMs, () => tick === this.#ticks && this.#tick());
    };
    if (this.#takeover !== null) return this.#runTakeover(this.#takeover, () => end(0));
    if (this.#switchoverTo !== null) return this.#runSwitchover(this.#switchoverTo, () => end(0));
    const policy = this.#policy;
    this.#policy = null;
    if (policy !== null)
      return this.leadership.update(
        (state) => ({ ...state, policy }),
        () => end(0),
      );
    this.#observe((view) => {
      const actions = decide(view);
      this.#execute(actions, 0, view, (isDone) => {
        const isSteady = actions.every(isRoutine);
        if (!isDone) end(RETRY_MS);
        else if (isSteady) end(TICK_MS);
        else end(actions.some(({ kind }) => kind === 'campaign') ? TICK_MS / 2 : 1);
      });
    });
  }

  #observe(done: (view: View) => void): void {
    let register: KnownRegister | null | undefined;
    let local: LocalPostgres | undefined;
    const both = (): void => {
      if (register === undefined || local === undefined) return;
      this.news.saw(local);
      done(this.#view(register, local));
    };
    this.leadership.refresh((known) => {
      register = known;
      both();
    });
    this.local.probe((seen) => {
      local = seen;
      both();
    });
  }

  #view(register: KnownRegister | null, local: LocalPostgres): View {
    const { leadership, host, cluster } = this;
    const expiredMs = leadership.leaseExpiredForMs;
    return {
      ...NOT_MODELLED,
      self: host.name,
      founders: cluster.members,
      register,
      ownLease: leadership.ownLease,
      isLeaseExpired: expiredMs > 0,
      leaseExpiredForMs: expiredMs,
      leaderLostForMs: leadership.leaderLostForMs,
      isLeaderSuspected: this.news.heard.areEnoughLost(register, leadership),
      writeFailingForMs: this.#writeHealth.failingForMs,
      fencedAtVersion: this.mutant === 'follows-outdated-leader' ? -1 : leadership.fencedAtVersion,
      local,
      localSystemIdentifier: this.server.hasData ? SYSTEM_IDENTIFIER : null,
      peers: this.news.heard.views(),
      canRewind: true,
      hasRewindFailed: this.#hasRewindFailed,
      failedPromotions: this.#promotion.failedIn(register?.state?.leadership.term),
    };
  }

  hearStatus(status: PeerStatus): void {
    if (this.news.heard.hear(status)) this.wake();
  }

  /** A candidate asks: cut off from the leader it wants to replace, and tell the position. */
  fence(version: number, isSuspicion: boolean, answer: (reply: FenceReply) => void): void {
    const { leadership } = this;
    const refusal = fenceRefusal({
      version,
      isSuspicion,
      knownVersion: leadership.known.version,
      isLeading: leadership.ownLease.kind !== 'none',
      hasLostLeader: leadership.leaderLostForMs > 0,
    });
    if (refusal !== null) return answer({ kind: 'refused' });
    if (this.mutant !== 'no-cut-off') leadership.raiseFence(version);
    if (this.cluster.isKeptBack(this.host)) return answer({ kind: 'fenced', position: null });
    this.local.fencedPosition((position) => answer({ kind: 'fenced', position }));
  }

  #execute(actions: readonly Action[], index: number, view: View, done: (isDone: boolean) => void): void {
    const decided = actions[index];
    if (decided === undefined) return done(true);
    const action = this.#break(decided, view);
    if (!isRoutine(action)) this.cluster.note(this.host, () => describe(action));
    this.#act(action, view, (isDone) => {
      if (isDone) this.#execute(actions, index + 1, view, done);
      else done(false);
    });
  }

  /** The mutants that join what does not belong together. */
  #break(action: Action, { local, register }: View): Action {
    const isRejoin = (action.kind === 'rewind' || action.kind === 'clone') && local.kind === 'follower';
    const joins = this.mutant === 'rejoin-without-rewind' || this.mutant === 'timelines-by-number';
    if (!isRejoin || !joins) return action;
    return { kind: 'follow', leader: action.from, term: register?.state?.leadership.term ?? parseTerm(0) };
  }

  #act(action: Action, view: View, done: (isDone: boolean) => void): void {
    const { leadership, local, server } = this;
    const yes = (): void => done(true);
    switch (action.kind) {
      case 'found-cluster': {
        const { version, state } = leadership.known;
        const sync = state?.sync ?? { required: this.cluster.required, members: [] };
        return leadership.take(version, { systemIdentifier: null, sync }, state, null, yes);
      }
      case 'create-data-folder':
        return this.#later(this.host.between(100, 400), () => {
          if (!server.hasData) server.createData();
          done(true);
        });
      case 'start':
        return local.start(done);
      case 'clone': {
        const { term } = leadership.known.state!.leadership;
        const isWanted = (): boolean => leadership.known.state?.leadership.term === term;
        return local.clone(this.cluster.serverOf(action.from), isWanted, (isDone) => {
          if (isDone) this.#hasRewindFailed = false;
          done(isDone);
        });
      }
      case 'rewind':
        return local.rewind(this.cluster.serverOf(action.from), (isDone) => {
          if (!isDone) this.#hasRewindFailed = true;
          done(true);
        });
      case 'detach':
        return local.detach(yes);
      case 'follow':
        return local.follow(action.leader, yes);
      case 'campaign':
        return campaign(this, view, action.ground, (isWon) => {
          if (isWon && view.local.kind === 'follower') this.#promotion.promote(yes);
          else done(true);
        });
      case 'promote':
        return this.#promotion.promote(yes);
      case 'lead':
        return this.#promotion.lead(view, yes);
      case 'demote':
        leadership.drop();
        return local.stop('immediate', yes);
      case 'hand-over':
        if (this.mutant === 'release-before-end')
          return leadership.release(null, () => local.stop('immediate', yes));
        server.kill('it does not write any more');
        return leadership.release(null, yes);
      case 'release':
        return leadership.release(null, yes);
      // The log is kept whole here, so nobody needs a slot.
      case 'keep-slots':
      case 'restart':
        return yes();
      case 'refuse':
        throw new Error(`${this.host.name} refuses: ${action.reason}`);
      default:
        action satisfies never;
    }
  }

  #runTakeover({ request, answer }: AskedTakeover, done: () => void): void {
    this.#takeover = null;
    takeOver(
      this,
      request,
      (promoted) => this.#promotion.promote(promoted),
      (reply) => {
        answer(reply);
        done();
      },
    );
  }

  /** Everything is shipped before the lease is given up. */
  #runSwitchover(to: NodeId, done: () => void): void {
    this.#switchoverTo = null;
    const { leadership, local, server } = this;
    const isReady =
      leadership.ownLease.kind === 'held' &&
      server.mode === 'leader' &&
      leadership.known.state?.sync.members.includes(to) === true;
    if (!isReady) return done();
    this.cluster.note(this.host, () => `hands over to ${to}`);
    if (this.mutant === 'release-before-end')
      return leadership.release(to, () => this.#later(SWITCHOVER_STOP_MS, () => local.stop('fast', done)));
    const giveUp = (): void => local.stop('fast', () => leadership.release(to, done));
    if (!this.cluster.handsOver) return giveUp();
    const leadOn = (): void =>
      // The old version is spent first: a successor that was told it can do nothing with it any more.
      leadership.goOn((isHeld) => (isHeld ? local.start(() => this.#promotion.promote(done)) : done()));
    handOver(this, to, { leadOn, giveUp, done });
  }
}
