import { randomUUID } from 'node:crypto';
import { every } from '../../clock/every.ts';
import { renewHolderLease } from '../../coordination/core/lease.ts';
import type { HolderLease } from '../../coordination/core/lease.ts';
import type { Coordination } from '../../coordination/contract.ts';
import type { Clock } from '../../model/clock.ts';
import { Sequence } from '../../model/sequence.ts';
import type { NodeId, Term } from '../../model/node.ts';
import { parseTerm } from '../../model/node.ts';
import type { Timeline } from '../../model/timeline.ts';
import type { Deadlines } from '../../postgres/server.ts';
import type { ClusterState, SyncSet } from '../core/cluster-state.ts';
import { rightDeadlines } from '../core/support.ts';
import type { OwnLease } from '../core/view.ts';
import type { ComingVoters, VotersToCome } from './coming-voters.ts';
import { CLUSTER_KEY } from './register-reader.ts';
import type { KnownRegister, RegisterReader } from './register-reader.ts';

type Change = (state: ClusterState) => ClusterState;

/** What a leader needs of its members to write: see core/support.ts. */
export interface LeaderSupport {
  /** Until when enough members hold this leader up. */
  readonly untilMs: number;
  /** Until when all of them do. */
  readonly failsafeUntilMs: number;
  /** This node tries for a leadership: what was answered before was for another one. */
  forget(): void;
}

export interface LeadershipHoldOptions {
  readonly self: NodeId;
  readonly ttlMs: number;
  /** How long support lasts. */
  readonly supportMs: number;
  readonly coordination: Coordination;
  readonly register: RegisterReader;
  readonly votersToCome: VotersToCome;
  readonly support: LeaderSupport;
  /** Hears when the right to write ends. A lost lease takes nothing back: PostgreSQL must stop by the last. */
  readonly server: { setDeadlines(deadlines: Deadlines): void };
  readonly clock: Clock;
}

/**
 * This agent's hold on the leadership: campaigns for it, and renews the lease on a timer of its own, so that a long
 * action elsewhere does not let it run out. Every write is a compare-and-set on the version last seen and carries a
 * new nonce (I1, I7).
 */
export class LeadershipHold {
  readonly #options: LeadershipHoldOptions;
  readonly #self: NodeId;
  readonly #register: RegisterReader;
  readonly #clock: Clock;
  readonly #heldListeners = new Set<() => void>();
  readonly #onWon: (() => void)[] = [];
  readonly #onDeposed: (() => void)[] = [];
  #lease: HolderLease | null = null;
  #term: Term | null = null;
  #endRenewing: (() => void) | null = null;
  readonly #writes = new Sequence();

  constructor(options: LeadershipHoldOptions) {
    this.#options = options;
    this.#self = options.self;
    this.#register = options.register;
    this.#clock = options.clock;
    options.register.onLearned((before) => this.#compare(before));
  }

  /** Calls `listener` when this node has won a leadership: support for it begins with its first ping. */
  onWon(listener: () => void): void {
    this.#onWon.push(listener);
  }

  /** Calls `listener` when another leads while this node held the leadership. */
  onDeposed(listener: () => void): void {
    this.#onDeposed.push(listener);
  }

  get ownLease(): OwnLease {
    const deadlines = this.#deadlines();
    if (this.#term === null || deadlines === null) return { kind: 'none' };
    const nowMs = this.#clock.nowMs();
    if (nowMs < deadlines.freezeAtMs) return { kind: 'held', term: this.#term };
    return nowMs < deadlines.killAtMs ? { kind: 'unsupported', term: this.#term } : { kind: 'none' };
  }

  /** Support moved: the right to write ends later, or begins. */
  moved(): void {
    const deadlines = this.#deadlines();
    // A leadership that nobody has supported yet is none: its PostgreSQL still follows.
    if (deadlines === null || deadlines.freezeAtMs === Number.NEGATIVE_INFINITY) return;
    this.#options.server.setDeadlines(deadlines);
    if (this.ownLease.kind === 'held') for (const listener of this.#heldListeners) listener();
  }

  /** Resolves when this node may write, or after `timeoutMs` whatever is. */
  untilHeld(timeoutMs: number): Promise<void> {
    if (this.ownLease.kind === 'held') return Promise.resolve();
    return new Promise((resolve) => {
      const done = (): void => {
        callOff();
        this.#heldListeners.delete(done);
        resolve();
      };
      const callOff = this.#clock.after(timeoutMs, done);
      this.#heldListeners.add(done);
    });
  }

  /** Says that this node is about to campaign, or to write. */
  expectWrite(): void {
    this.#options.coordination.expectWrite(CLUSTER_KEY);
  }

  /** Creates the register with this node as its first leader. False when another was faster. */
  async found(sync: SyncSet): Promise<boolean> {
    return this.#take(0, {
      systemIdentifier: null,
      sync,
      leadership: this.#newLeadership(parseTerm(1), null),
    });
  }

  /**
   * Takes the lease over from the state seen at `version`, and announces the number of the timeline that the
   * promotion begins. False when anything has changed since.
   */
  async campaign(
    version: number,
    state: ClusterState,
    sync: SyncSet,
    announcedTimeline: Timeline | null,
  ): Promise<boolean> {
    const leadership = this.#newLeadership(parseTerm(state.leadership.term + 1), state.leadership.timeline);
    return this.#take(version, { ...state, sync, leadership: { ...leadership, announcedTimeline } });
  }

  /** Announces the number of the timeline that a promotion begins, unless it is told already. */
  async announce(timeline: Timeline): Promise<boolean> {
    if (this.#register.known.state?.leadership.announcedTimeline === timeline) return true;
    return this.update((state) => ({
      ...state,
      leadership: { ...state.leadership, announcedTimeline: timeline },
    }));
  }

  /** As the holder, changes the shared state and renews the lease with it. False when it was not applied. */
  async update(change: Change): Promise<boolean> {
    return this.#update(change, () => undefined);
  }

  async #update(change: Change, onSend: (version: number) => void): Promise<boolean> {
    return this.#writes.run(async () => {
      const { version, state } = this.#register.known;
      const mayWrite = this.ownLease.kind !== 'none' && state?.leadership.holder === this.#self;
      if (state === null || !mayWrite) return false;
      const changed = change(state);
      onSend(version);
      return this.#write(version, { ...changed, leadership: { ...changed.leadership, nonce: randomUUID() } });
    });
  }

  /**
   * As the holder: asks for the support that `names` as voters would ask for, besides that of the present ones. Resolves
   * after `supportMs`; whoever is held then has told PostgreSQL only deadlines that both grant. Null when another change has
   * not been settled yet.
   */
  async addComingVoters(names: readonly NodeId[]): Promise<ComingVoters | null> {
    const coming = this.#options.votersToCome.add(names);
    if (coming === null) return null;
    this.moved();
    await this.#clock.sleep(this.#options.supportMs);
    return coming;
  }

  /**
   * After {@link addComingVoters}: writes the change of voters. False when it was not applied, or that is not known, or `coming`
   * has not been counted all the time.
   */
  async changeVoters(coming: ComingVoters, change: Change): Promise<boolean> {
    let isCounted = true;
    const isWritten = await this.#update(
      (state) => {
        isCounted = this.#options.votersToCome.isCounted(coming);
        return isCounted ? change(state) : state;
      },
      (version) => {
        if (isCounted) coming.replaces = version;
      },
    );
    return isWritten && isCounted;
  }

  /** Gives the lease up; PostgreSQL must have stopped before. `isResigned`: because this agent is stopped in order. */
  async release(successor: NodeId | null, isResigned = false): Promise<boolean> {
    const isReleased = await this.update((state) => ({
      ...state,
      leadership: { ...state.leadership, isReleased: true, successor, isResigned },
    }));
    this.drop();
    return isReleased;
  }

  /**
   * Stops renewing without giving the lease up: the version then stands still, for a successor to take the
   * register over from. Null when this node does not hold it any more.
   */
  holdStill(): Promise<KnownRegister | null> {
    return this.#writes.run(async () => {
      if (this.ownLease.kind === 'none' || this.#register.known.state?.leadership.holder !== this.#self)
        return null;
      this.#stopRenewing();
      return this.#register.known;
    });
  }

  /** After {@link holdStill}: renews at once, which also bars whoever was told the old version. */
  async goOn(): Promise<boolean> {
    const isHeld = await this.update((current) => current);
    if (isHeld) this.#startRenewing();
    return isHeld;
  }

  /** Renews at once, and then not before half of the lease is over: meanwhile the version stands as others are told it. */
  async renewForLong(): Promise<boolean> {
    const isHeld = await this.update((current) => current);
    if (isHeld) this.#startRenewing(this.#options.ttlMs / 2);
    return isHeld;
  }

  /** Stops renewing: whatever happens from here, the lease runs out. */
  drop(): void {
    this.#stopRenewing();
    this.#lease = null;
    this.#term = null;
  }

  #newLeadership(term: Term, timeline: ClusterState['leadership']['timeline']): ClusterState['leadership'] {
    return {
      holder: this.#self,
      term,
      nonce: randomUUID(),
      ttlMs: this.#options.ttlMs,
      isReleased: false,
      isResigned: false,
      successor: null,
      timeline,
      announcedTimeline: null,
    };
  }

  async #take(version: number, state: ClusterState): Promise<boolean> {
    return this.#writes.run(async () => {
      this.#term = state.leadership.term;
      this.#options.support.forget();
      if (!(await this.#write(version, state))) {
        this.drop();
        return false;
      }
      this.#startRenewing();
      for (const listener of this.#onWon) listener();
      return true;
    });
  }

  #startRenewing(firstMs?: number): void {
    this.#stopRenewing();
    const renew = (): void => void this.update((current) => current).catch(() => undefined);
    this.#endRenewing = every(this.#clock, this.#options.ttlMs / 4, renew, firstMs);
  }

  #stopRenewing(): void {
    this.#endRenewing?.();
    this.#endRenewing = null;
  }

  async #write(version: number, state: ClusterState): Promise<boolean> {
    const sentAtMs = this.#clock.nowMs();
    const result = await this.#options.coordination.compareAndSet(CLUSTER_KEY, version, state);
    switch (result.kind) {
      case 'applied':
        this.#lease = renewHolderLease(this.#lease, sentAtMs, this.#options.ttlMs);
        this.#register.learn(result.register);
        this.moved();
        return true;
      case 'conflict':
        this.#register.learn(result.current);
        return false;
      case 'unknown':
        // It may have been written: the next renewal needs the true version. No extension without a clean answer.
        await this.#register.refresh().catch(() => undefined);
        return false;
    }
  }

  /** Whoever else is named in the register ends this hold. */
  #compare(before: KnownRegister): void {
    const leadership = this.#register.known.state?.leadership;
    if (leadership === undefined || this.#endRenewing === null) return;
    const { holder, term, isReleased } = leadership;
    if (holder === this.#self && term === this.#term && !isReleased) return;
    this.drop();
    if (holder === this.#self && term === before.state?.leadership.term) return;
    for (const listener of this.#onDeposed) listener();
  }

  /** When the right to write ends, by lease and support; null without a lease. */
  #deadlines(): Deadlines | null {
    if (this.#lease === null) return null;
    const { untilMs, failsafeUntilMs } = this.#options.support;
    const leaseUntilMs = this.#lease.deadlineMs;
    return rightDeadlines({ leaseUntilMs, supportedUntilMs: untilMs, failsafeUntilMs });
  }
}
