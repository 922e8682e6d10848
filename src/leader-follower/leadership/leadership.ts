import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { expiredForMs, observeLease, renewHolderLease } from '../../coordination/core/lease.ts';
import type { HolderLease, LeaseObservation } from '../../coordination/core/lease.ts';
import type { Coordination } from '../../coordination/contract.ts';
import type { NodeId, Term } from '../../model/node.ts';
import { parseTerm } from '../../model/node.ts';
import type { Timeline } from '../../model/timeline.ts';
import { monotonicMs } from '../../postgres/monotonic-clock.ts';
import type { Deadlines } from '../../postgres/server.ts';
import type { ClusterState, SyncSet } from '../core/cluster-state.ts';
import { rightDeadlines } from '../core/support.ts';
import type { OwnLease } from '../core/view.ts';

/** The register that all agents of a cluster share. */
export const CLUSTER_KEY = 'cluster';

export interface KnownRegister {
  readonly version: number;
  readonly state: ClusterState | null;
}

type Change = (state: ClusterState) => ClusterState;

/** Voters that a write of this node may have brought, or is about to. */
export interface ComingVoters {
  readonly names: readonly NodeId[];
  /** The version that the change replaces; null before it is sent. */
  replaces: number | null;
}

export interface LeadershipOptions {
  readonly self: NodeId;
  readonly ttlMs: number;
  /** How long support lasts. */
  readonly supportMs: number;
  readonly coordination: Coordination;
  /** Until when enough members, and all of them, hold this leader up (see support.ts in core). */
  readonly support: () => { readonly untilMs: number; readonly failsafeUntilMs: number };
  /** Hears when the right to write ends. A lost lease takes nothing back: PostgreSQL must stop by the last. */
  readonly onDeadlines: (deadlines: Deadlines) => void;
  /** This node tries for a leadership: what was answered before was for another one. */
  readonly onTaking: () => void;
  /** It has won: support for it begins with its first ping. */
  readonly onWon: () => void;
  /** Another leads while this node held the leadership. */
  readonly onDeposed: () => void;
  /** A holder or term was seen for the first time. */
  readonly onNewLeader: () => void;
}

/**
 * This agent's hold on the cluster's register: reads it, campaigns for it, and renews the lease on a timer
 * of its own, so that a long action elsewhere does not let it run out. Every write is a compare-and-set on
 * the version last seen and carries a new nonce (I1, I7).
 */
export class LeadershipRegister {
  readonly #options: LeadershipOptions;
  readonly #self: NodeId;
  readonly #ttlMs: number;
  readonly #coordination: Coordination;
  readonly #heldListeners = new Set<() => void>();
  #known: KnownRegister = { version: 0, state: null };
  #changedAtMs = monotonicMs();
  #observation: LeaseObservation | null = null;
  #lease: HolderLease | null = null;
  #term: Term | null = null;
  #timer: NodeJS.Timeout | null = null;
  #coming: ComingVoters | null = null;
  #writes: Promise<unknown> = Promise.resolve();

  constructor(options: LeadershipOptions) {
    this.#options = options;
    this.#self = options.self;
    this.#ttlMs = options.ttlMs;
    this.#coordination = options.coordination;
  }

  /** The newest register seen. */
  get known(): KnownRegister {
    return this.#known;
  }

  /** For how long {@link known} has been the newest. */
  get unchangedForMs(): number {
    return monotonicMs() - this.#changedAtMs;
  }

  get ownLease(): OwnLease {
    const deadlines = this.#deadlines();
    if (this.#term === null || deadlines === null) return { kind: 'none' };
    const nowMs = monotonicMs();
    if (nowMs < deadlines.freezeAtMs) return { kind: 'held', term: this.#term };
    return nowMs < deadlines.killAtMs ? { kind: 'unsupported', term: this.#term } : { kind: 'none' };
  }

  /** Support moved: the right to write ends later, or begins. */
  moved(): void {
    const deadlines = this.#deadlines();
    // A leadership that nobody has supported yet is none: its PostgreSQL still follows.
    if (deadlines === null || deadlines.freezeAtMs === Number.NEGATIVE_INFINITY) return;
    this.#options.onDeadlines(deadlines);
    if (this.ownLease.kind === 'held') for (const listener of this.#heldListeners) listener();
  }

  /** Resolves when this node may write, or after `timeoutMs` whatever is. */
  untilHeld(timeoutMs: number): Promise<void> {
    if (this.ownLease.kind === 'held') return Promise.resolve();
    return new Promise((resolve) => {
      const done = (): void => {
        clearTimeout(timer);
        this.#heldListeners.delete(done);
        resolve();
      };
      const timer = setTimeout(done, timeoutMs);
      this.#heldListeners.add(done);
    });
  }

  /** How long ago the present lease could have been taken; 0 while it could not. */
  get leaseExpiredForMs(): number {
    return this.#observation === null ? 0 : expiredForMs(this.#observation, monotonicMs());
  }

  /** Reads the register. Throws QUORUM_NOT_REACHED. */
  async refresh(): Promise<KnownRegister> {
    const register = await this.#coordination.read(CLUSTER_KEY);
    this.#learn(register.version, register.value);
    return this.#known;
  }

  /** Says that this node is about to campaign, or to write. */
  expectWrite(): void {
    this.#coordination.expectWrite(CLUSTER_KEY);
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
    if (this.#known.state?.leadership.announcedTimeline === timeline) return true;
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
    return this.#enqueue(async () => {
      const { version, state } = this.#known;
      const mayWrite = this.ownLease.kind !== 'none' && state?.leadership.holder === this.#self;
      if (state === null || !mayWrite) return false;
      const changed = change(state);
      onSend(version);
      return this.#write(version, { ...changed, leadership: { ...changed.leadership, nonce: randomUUID() } });
    });
  }

  /**
   * Voters that may come to count with a write of this node, which is under way or about to be: null where there are none.
   * As long as it is not known whether they do, this node leads only with the support that they and the present ones ask for.
   */
  get comingVoters(): readonly NodeId[] | null {
    return this.#coming?.names ?? null;
  }

  /**
   * As the holder: asks for the support that `names` as voters would ask for, besides that of the present ones. Resolves
   * after `supportMs`; whoever is held then has told PostgreSQL only deadlines that both grant. Null when another change has
   * not been settled yet.
   */
  async addComingVoters(names: readonly NodeId[]): Promise<ComingVoters | null> {
    if (this.#coming !== null) return null;
    const coming = { names, replaces: null };
    this.#coming = coming;
    this.moved();
    await delay(this.#options.supportMs);
    return coming;
  }

  /** Takes {@link addComingVoters} back, as long as nothing was sent. */
  dropComingVoters(coming: ComingVoters): void {
    if (this.#coming === coming && coming.replaces === null) this.#coming = null;
  }

  /**
   * After {@link addComingVoters}: writes the change of voters. False when it was not applied, or that is not known, or `coming`
   * has not been counted all the time.
   */
  async changeVoters(coming: ComingVoters, change: Change): Promise<boolean> {
    let isCounted = true;
    const isWritten = await this.#update(
      (state) => {
        isCounted = this.#coming === coming;
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
    return this.#enqueue(async () => {
      if (this.ownLease.kind === 'none' || this.#known.state?.leadership.holder !== this.#self) return null;
      if (this.#timer !== null) clearInterval(this.#timer);
      this.#timer = null;
      return this.#known;
    });
  }

  /** After {@link holdStill}: renews at once, which also bars whoever was told the old version. */
  async goOn(): Promise<boolean> {
    const isHeld = await this.update((current) => current);
    if (isHeld) this.#startRenewing();
    return isHeld;
  }

  /** Stops renewing: whatever happens from here, the lease runs out. */
  drop(): void {
    if (this.#timer !== null) clearInterval(this.#timer);
    this.#timer = null;
    this.#lease = null;
    this.#term = null;
  }

  #newLeadership(term: Term, timeline: ClusterState['leadership']['timeline']): ClusterState['leadership'] {
    return {
      holder: this.#self,
      term,
      nonce: randomUUID(),
      ttlMs: this.#ttlMs,
      isReleased: false,
      isResigned: false,
      successor: null,
      timeline,
      announcedTimeline: null,
    };
  }

  async #take(version: number, state: ClusterState): Promise<boolean> {
    return this.#enqueue(async () => {
      this.#term = state.leadership.term;
      this.#options.onTaking();
      if (!(await this.#write(version, state))) {
        this.drop();
        return false;
      }
      this.#startRenewing();
      this.#options.onWon();
      return true;
    });
  }

  #startRenewing(): void {
    if (this.#timer !== null) clearInterval(this.#timer);
    this.#timer = setInterval(
      () => void this.update((current) => current).catch(() => undefined),
      this.#ttlMs / 4,
    );
  }

  async #write(version: number, state: ClusterState): Promise<boolean> {
    const sentAtMs = monotonicMs();
    const result = await this.#coordination.compareAndSet(CLUSTER_KEY, version, state);
    switch (result.kind) {
      case 'applied':
        this.#lease = renewHolderLease(this.#lease, sentAtMs, this.#ttlMs);
        this.#learn(result.register.version, result.register.value);
        this.moved();
        return true;
      case 'conflict':
        this.#learn(result.current.version, result.current.value);
        return false;
      case 'unknown':
        // It may have been written: the next renewal needs the true version. No extension without a clean answer.
        await this.refresh().catch(() => undefined);
        return false;
    }
  }

  #learn(version: number, value: unknown): void {
    if (version < this.#known.version) return;
    const state = (value ?? null) as ClusterState | null;
    const before = this.#known.state?.leadership;
    if (version > this.#known.version) this.#changedAtMs = monotonicMs();
    this.#known = { version, state };
    // What replaced that version is this node's change, or bars it for good.
    const { replaces = null } = this.#coming ?? {};
    if (replaces !== null && version > replaces) this.#coming = null;
    if (state === null) return;
    const { holder, term, nonce, ttlMs, isReleased } = state.leadership;
    if (before?.term !== term || before.holder !== holder) this.#options.onNewLeader();
    this.#observation = observeLease(
      this.#observation,
      { nonce, ttlMs: isReleased ? 0 : ttlMs },
      monotonicMs(),
    );
    const isMine = holder === this.#self && term === this.#term && !isReleased;
    if (this.#timer === null || isMine) return;
    this.drop();
    if (holder !== this.#self || term !== before?.term) this.#options.onDeposed();
  }

  /** When the right to write ends, by lease and support; null without a lease. */
  #deadlines(): Deadlines | null {
    if (this.#lease === null) return null;
    const { untilMs, failsafeUntilMs } = this.#options.support();
    const leaseUntilMs = this.#lease.deadlineMs;
    return rightDeadlines({ leaseUntilMs, supportedUntilMs: untilMs, failsafeUntilMs });
  }

  #enqueue<T>(task: () => Promise<T>): Promise<T> {
    const result = this.#writes.then(task, task);
    this.#writes = result.catch(() => undefined);
    return result;
  }
}
