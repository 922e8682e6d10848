import { expiredForMs, observeLease, renewHolderLease } from '../../../src/coordination/core/lease.ts';
import type { HolderLease, LeaseObservation } from '../../../src/coordination/core/lease.ts';
import type { ClusterState } from '../../../src/leader-follower/core/cluster-state.ts';
import { rightDeadlines, supportsLeader } from '../../../src/leader-follower/core/support.ts';
import type { Ping, RightDeadlines } from '../../../src/leader-follower/core/support.ts';
import type { OwnLease } from '../../../src/leader-follower/core/view.ts';
import { parseTerm } from '../../../src/model/node.ts';
import type { NodeId, Term } from '../../../src/model/node.ts';
import type { Timeline } from '../../../src/model/timeline.ts';
import type { CasResult, KnownRegister } from './coordination.ts';
import type { Host } from './host.ts';
import { ModelPromise } from './promise.ts';
import {
  DEFAULT_LEASE_TTL_MS,
  PING_INTERVAL_MS,
  DEFAULT_SUPPORT_MS,
} from '../../../src/leader-follower/patience.ts';
import type { LeadershipOptions } from './leadership-options.ts';
import { ModelSupport } from './support-of-members.ts';

/** Where a node is does not matter here. */
const NOWHERE = { host: '', port: 0, agentPort: 0, failoverPriority: 1 };

interface ComingMembers {
  readonly members: readonly NodeId[];
  replaces: number | null;
}

/**
 * One agent's hold on the register, its support as a leader, its promise and its fence as a member: the rules of
 * docs/internals/failover.md as src/leader-follower does them, by this machine's clock.
 */
export class ModelLeadership {
  readonly #options: LeadershipOptions;
  readonly #host: Host;
  known: KnownRegister = { version: 0, state: null };
  #changedAtMs = 0;
  /** Nothing is newer while the register was not read. */
  fencedAtVersion: number = Number.POSITIVE_INFINITY;
  #isFenceKnown = false;
  #observation: LeaseObservation | null = null;
  #lease: HolderLease | null = null;
  #term: Term | null = null;
  #isRenewing = false;
  #renewals = 0;
  readonly #promise: ModelPromise;
  readonly #support: ModelSupport;
  #queue: (() => void)[] = [];
  #isWriting = false;
  #heldListeners: (() => void)[] = [];
  /** Members that may come to count with a write of this node, and the version that it replaces, once it is sent. */
  #coming: ComingMembers | null = null;

  constructor(options: LeadershipOptions) {
    this.#options = options;
    this.#host = options.host;
    this.#support = new ModelSupport(options.host.name, options.mutant);
    this.#promise = new ModelPromise(options.host, options.mutant, options.onLost);
    this.#pingLater();
  }

  get ownLease(): OwnLease {
    const deadlines = this.#deadlines();
    if (this.#term === null || deadlines === null) return { kind: 'none' };
    const nowMs = this.#host.nowMs();
    if (nowMs < deadlines.freezeAtMs) return { kind: 'held', term: this.#term };
    return nowMs < deadlines.killAtMs ? { kind: 'unsupported', term: this.#term } : { kind: 'none' };
  }

  get unchangedForMs(): number {
    return this.#host.nowMs() - this.#changedAtMs;
  }

  get leaseExpiredForMs(): number {
    return this.#observation === null ? 0 : expiredForMs(this.#observation, this.#host.nowMs());
  }

  get leaderLostForMs(): number {
    return this.#promise.lostForMs;
  }

  refresh(done: (known: KnownRegister | null) => void): void {
    const before = this.known.version;
    this.#options.client.read((register) => {
      if (register !== null) this.#learn(register);
      if (register !== null && !this.#isFenceKnown) this.raiseFence(Math.max(before, this.known.version));
      done(register === null ? null : this.known);
    });
  }

  raiseFence(version: number): void {
    this.fencedAtVersion = this.#isFenceKnown ? Math.max(this.fencedAtVersion, version) : version;
    this.#isFenceKnown = true;
  }

  take(
    version: number,
    state: Omit<ClusterState, 'leadership'>,
    previous: ClusterState | null,
    announcedTimeline: Timeline | null,
    done: (isWon: boolean) => void,
  ): void {
    const term = parseTerm((previous?.leadership.term ?? 0) + 1);
    const leadership = {
      holder: this.#host.name,
      term,
      nonce: this.#options.nonce(),
      ttlMs: DEFAULT_LEASE_TTL_MS.embedded,
      isReleased: false,
      successor: null,
      timeline: previous?.leadership.timeline ?? null,
      announcedTimeline,
    };
    this.#enqueue((next) => {
      this.#term = term;
      this.#support.forget();
      this.#write(version, { ...state, leadership }, (isApplied) => {
        next();
        if (!isApplied) this.drop();
        else {
          this.#isRenewing = true;
          this.#renewLater(++this.#renewals);
          this.#support.forget();
          this.#ping();
        }
        done(isApplied);
      });
    });
  }

  update(change: (state: ClusterState) => ClusterState, done: (isApplied: boolean) => void): void {
    this.#update(change, () => undefined, done);
  }

  /**
   * As the holder: other members, in the steps of docs/internals/nodes.md. Acceptors stay, as with etcd: what agents agree on
   * while voters change is the business of consensus.test.ts.
   */
  changeMembers(members: readonly NodeId[]): void {
    const { state } = this.known;
    if (this.ownLease.kind !== 'held' || state === null || this.#coming !== null) return;
    const coming: ComingMembers = { members, replaces: null };
    this.#coming = coming;
    this.#moved();
    const epoch = state.votersEpoch ?? 0;
    this.#after(DEFAULT_SUPPORT_MS, () => {
      const isOutrun = (this.known.state?.votersEpoch ?? 0) !== epoch;
      if (this.#coming !== coming) return;
      if (this.ownLease.kind !== 'held' || isOutrun) {
        this.#coming = null;
        return;
      }
      let isCounted = true;
      const nodes = this.#options.names.map((name) => ({ ...NOWHERE, name, voter: members.includes(name) }));
      this.#update(
        (current) => {
          isCounted = this.#coming === coming;
          return isCounted ? { ...current, nodes, votersEpoch: epoch + 1 } : current;
        },
        (version) => {
          if (!isCounted) return;
          coming.replaces = version;
          if (this.#options.mutant === 'coming-members-forgotten')
            this.#after(100, () => (this.#coming = null));
          this.#options.onMembersSent(members);
        },
        () => {
          // Nothing was sent.
          if (this.#coming === coming && coming.replaces === null) this.#coming = null;
        },
      );
    });
  }

  #update(
    change: (state: ClusterState) => ClusterState,
    onSend: (version: number) => void,
    done: (isApplied: boolean) => void,
  ): void {
    this.#enqueue((next) => {
      const { version, state } = this.known;
      if (state === null || this.ownLease.kind === 'none' || state.leadership.holder !== this.#host.name) {
        next();
        return done(false);
      }
      const changed = change(state);
      onSend(version);
      const leadership = { ...changed.leadership, nonce: this.#options.nonce() };
      this.#write(version, { ...changed, leadership }, (isApplied) => {
        next();
        done(isApplied);
      });
    });
  }

  announce(timeline: Timeline, done: (isAnnounced: boolean) => void): void {
    if (this.known.state?.leadership.announcedTimeline === timeline) return done(true);
    this.update(
      (state) => ({ ...state, leadership: { ...state.leadership, announcedTimeline: timeline } }),
      done,
    );
  }

  release(successor: NodeId | null, done: () => void): void {
    this.update(
      (state) => ({ ...state, leadership: { ...state.leadership, isReleased: true, successor } }),
      () => {
        this.drop();
        done();
      },
    );
  }

  /** Renews no more without giving the lease up: the version stands still for a successor. */
  holdStill(done: (still: KnownRegister | null) => void): void {
    this.#enqueue((next) => {
      const isHolder = this.known.state?.leadership.holder === this.#host.name;
      const isStill = this.ownLease.kind !== 'none' && isHolder;
      if (isStill) this.#isRenewing = false;
      next();
      done(isStill ? this.known : null);
    });
  }

  /** After {@link holdStill}: renews at once, and goes on. */
  goOn(done: (isHeld: boolean) => void): void {
    this.update(
      (state) => state,
      (isHeld) => {
        if (isHeld) {
          this.#isRenewing = true;
          this.#renewLater(++this.#renewals);
        }
        done(isHeld);
      },
    );
  }

  drop(): void {
    this.#isRenewing = false;
    this.#lease = null;
    this.#term = null;
  }

  /** Calls back when this node may write, or after so long whatever is. */
  whenHeld(timeoutMs: number, done: () => void): void {
    if (this.ownLease.kind === 'held') return done();
    let isDone = false;
    const once = (): void => {
      if (isDone) return;
      isDone = true;
      done();
    };
    this.#heldListeners.push(once);
    this.#after(timeoutMs, once);
  }

  /** A member's answer to a ping. */
  answer(ping: Ping): boolean {
    const { term, holder } = this.known.state?.leadership ?? { term: parseTerm(0), holder: null };
    if (ping.term > term) this.#options.wake();
    const fencedAtVersion = this.#options.mutant === 'support-at-fenced-version' ? -1 : this.fencedAtVersion;
    const supports = supportsLeader({ ping, term, holder, fencedAtVersion });
    if (supports) this.#promise.grant();
    return supports;
  }

  /** The holder hears a member's support of the ping that it sent then. */
  heard(member: NodeId, sentAtMs: number): void {
    const countsFromMs =
      this.#options.mutant === 'support-counted-from-answer' ? this.#host.nowMs() : sentAtMs;
    if (this.#support.heard(member, countsFromMs)) this.#moved();
  }

  #pingLater(): void {
    this.#after(PING_INTERVAL_MS, () => {
      this.#ping();
      this.#pingLater();
    });
  }

  #ping(): void {
    const { version, state } = this.known;
    const lease = this.ownLease;
    if (lease.kind === 'none' || state?.leadership.holder !== this.#host.name) return;
    if (!this.#options.isServing()) return;
    this.#options.sendPing(
      { holder: this.#host.name, term: lease.term, version, supportMs: DEFAULT_SUPPORT_MS },
      this.#host.nowMs(),
    );
  }

  #renewLater(renewals: number): void {
    this.#after(DEFAULT_LEASE_TTL_MS.embedded / 4, () => {
      if (!this.#isRenewing || renewals !== this.#renewals) return;
      this.update(
        (state) => state,
        () => undefined,
      );
      this.#renewLater(renewals);
    });
  }

  #write(version: number, state: ClusterState, done: (isApplied: boolean) => void): void {
    const sentAtMs = this.#leaseClock();
    this.#options.client.compareAndSet(version, state, (result: CasResult) => {
      if (result.kind === 'applied' || this.#extendsAnyway(result)) {
        const countsFromMs = result.kind === 'applied' ? sentAtMs : this.#leaseClock();
        this.#lease = renewHolderLease(this.#lease, countsFromMs, DEFAULT_LEASE_TTL_MS.embedded);
        if (result.kind === 'applied') this.#learn(result.register);
        this.#moved();
        return done(true);
      }
      if (result.kind === 'conflict') {
        this.#learn(result.register);
        return done(false);
      }
      this.refresh(() => done(false));
    });
  }

  #extendsAnyway(result: CasResult): boolean {
    return this.#options.mutant === 'extend-without-answer' && result.kind === 'unknown' && this.#isRenewing;
  }

  #learn(register: KnownRegister): void {
    if (register.version < this.known.version) return;
    const before = this.known.state?.leadership;
    if (register.version > this.known.version) this.#changedAtMs = this.#host.nowMs();
    this.known = register;
    const { replaces = null } = this.#coming ?? {};
    if (replaces !== null && register.version > replaces) this.#coming = null;
    if (register.state === null) return;
    const { holder, term, nonce, ttlMs, isReleased } = register.state.leadership;
    const isFirst = before === undefined;
    const isForgotten = isFirst && this.#options.mutant === 'promise-forgotten-at-restart';
    if (!isForgotten && (before?.term !== term || before.holder !== holder)) this.#promise.grant();
    this.#observation = observeLease(
      this.#observation,
      { nonce, ttlMs: isReleased ? 0 : ttlMs },
      this.#host.nowMs(),
    );
    const isMine = holder === this.#host.name && term === this.#term && !isReleased;
    if (!this.#isRenewing || isMine) return;
    this.drop();
    if (holder !== this.#host.name || term !== before?.term) this.#options.onDeposed();
  }

  #moved(): void {
    const deadlines = this.#deadlines();
    if (deadlines === null || deadlines.freezeAtMs === Number.NEGATIVE_INFINITY) return;
    this.#options.onDeadlines(deadlines);
    if (this.ownLease.kind !== 'held') return;
    const listeners = this.#heldListeners;
    this.#heldListeners = [];
    for (const listener of listeners) listener();
  }

  #deadlines(): RightDeadlines | null {
    if (this.#lease === null) return null;
    const { mutant, membersOf } = this.#options;
    const sets = [membersOf(this.known.state)];
    if (this.#coming !== null && mutant !== 'coming-members-not-counted') sets.push(this.#coming.members);
    const support = this.#support.until(sets);
    const deadlines = rightDeadlines({
      leaseUntilMs: this.#lease.deadlineMs - (this.#leaseClock() - this.#host.nowMs()),
      supportedUntilMs: support.untilMs,
      failsafeUntilMs: support.failsafeUntilMs,
    });
    const isUnfrozen = mutant === 'no-freeze' || mutant === 'follows-outdated-leader';
    return isUnfrozen ? { ...deadlines, freezeAtMs: deadlines.killAtMs } : deadlines;
  }

  #leaseClock(): number {
    return this.#options.mutant === 'wall-clock-lease' ? this.#host.wallMs() : this.#host.nowMs();
  }

  #enqueue(task: (next: () => void) => void): void {
    const start = (): void => {
      this.#isWriting = true;
      task(() => {
        this.#isWriting = false;
        this.#queue.shift()?.();
      });
    };
    if (this.#isWriting) this.#queue.push(start);
    else start();
  }

  #after(ms: number, run: () => void): void {
    this.#host.after(this.#host.agent, ms, run);
  }
}
