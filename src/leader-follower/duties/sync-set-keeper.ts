import type { Lsn } from '../../model/lsn.ts';
import type { Clock } from '../../model/clock.ts';
import type { NodeId } from '../../model/node.ts';
import type { Probe } from '../../postgres/probe.ts';
import { dataNodes } from '../config/config.ts';
import type { ClusterConfig } from '../config/config.ts';
import {
  decideSyncSet,
  formatSynchronousStandbyNames,
  parseSynchronousStandbyNames,
} from '../core/sync-set.ts';
import type { EventLog } from '../report/event-log.ts';
import type { LeadershipHold } from '../leadership/leadership-hold.ts';
import type { RegisterReader } from '../leadership/register-reader.ts';
import type { LocalPort } from '../ports.ts';
import type { LeaderDuty, LeadershipBegin } from './leader-duty.ts';

/** A follower that stops streaming is kept this long: a reconnect takes less. */
const REMOVAL_DELAY_MS = 2_000;
/**
 * After a reload, how long until every walsender surely works with the new names. They take a reload
 * before they read the next reply of their follower.
 */
const RELOAD_SETTLES_MS = 1_000;

/** Walks the leader's sync set towards the streaming followers, one safe step per call. */
export class SyncSetKeeper implements LeaderDuty {
  readonly #self: NodeId;
  readonly #clock: Clock;
  readonly #register: RegisterReader;
  readonly #hold: LeadershipHold;
  readonly #local: LocalPort;
  readonly #events: EventLog;
  readonly #config: ClusterConfig;
  readonly #lastStreamedAtMs = new Map<NodeId, number>();
  /** The names set before the promotion hold from its first walsender on; only later changes have to settle. */
  #barrier: { readonly names: string; readonly changedAtMs: number; lsn: Lsn | null } | null = null;

  constructor(options: {
    readonly self: NodeId;
    readonly clock: Clock;
    readonly register: RegisterReader;
    readonly hold: LeadershipHold;
    readonly local: LocalPort;
    readonly events: EventLog;
    /** What only a node had that never leads could not be saved by an election: no commit may wait for it. */
    readonly config: ClusterConfig;
  }) {
    this.#self = options.self;
    this.#clock = options.clock;
    this.#register = options.register;
    this.#hold = options.hold;
    this.#local = options.local;
    this.#events = options.events;
    this.#config = options.config;
  }

  async start({ standbyNames }: LeadershipBegin): Promise<void> {
    this.#barrier = { names: standbyNames, changedAtMs: Number.NEGATIVE_INFINITY, lsn: null };
    // A new leader's followers get the same time to come back as after any other hiccup.
    const members = this.#register.known.state?.sync.members ?? [];
    const candidates = this.#candidates();
    const counted = members.filter((name) => candidates.includes(name));
    this.#lastStreamedAtMs.clear();
    for (const name of counted) this.#lastStreamedAtMs.set(name, this.#clock.nowMs());
  }

  stop(): void {
    this.#barrier = null;
    this.#lastStreamedAtMs.clear();
  }

  async step(seen: Probe): Promise<void> {
    const state = this.#register.known.state;
    if (state === null) return;
    const nowMs = this.#clock.nowMs();
    const candidates = this.#candidates();
    const followers = seen.followers
      .map((follower) => ({ ...follower, name: follower.name as NodeId }))
      .filter(({ name }) => candidates.includes(name));
    for (const follower of followers) {
      if (follower.isStreaming) this.#lastStreamedAtMs.set(follower.name, nowMs);
    }
    const step = decideSyncSet({
      self: this.#self,
      recorded: state.sync,
      active: parseSynchronousStandbyNames(seen.synchronousStandbyNames),
      followers,
      isToBeAlone: candidates.length === 0 && this.#config.nodes.some((node) => node.isLeaving === true),
      recentlyStreaming: [...this.#lastStreamedAtMs]
        .filter(([name, atMs]) => nowMs - atMs < REMOVAL_DELAY_MS && candidates.includes(name))
        .map(([name]) => name),
      barrierLsn: this.#barrierLsn(seen, nowMs),
    });
    switch (step.kind) {
      case 'keep':
        return;
      case 'record': {
        const isRecorded = await this.#hold.update((current) => ({
          ...current,
          sync: { ...current.sync, members: step.members },
        }));
        const names = step.members.join(', ') || 'no other node';
        if (isRecorded) this.#events.add('sync-set', `recorded ${names}: ${step.reason}`);
        return;
      }
      case 'activate':
        await this.#local.setStandbyNames(formatSynchronousStandbyNames(state.sync.required, step.members));
        this.#events.add(
          'sync-set',
          `synchronous commits wait for ${step.members.length === 0 ? 'nobody' : `one of ${step.members.join(', ')}`}: ${step.reason}`,
        );
    }
  }

  /** The nodes that commits may wait for: those that could lead. */
  #candidates(): readonly NodeId[] {
    return dataNodes(this.#config)
      .filter((node) => node.failoverPriority > 0 && node.name !== this.#self)
      .map((node) => node.name);
  }

  /** The leader's position once the names have stood unchanged long enough; everything before may rest on others. */
  #barrierLsn(seen: Probe, nowMs: number): Lsn | null {
    if (this.#barrier?.names !== seen.synchronousStandbyNames) {
      this.#barrier = { names: seen.synchronousStandbyNames, changedAtMs: nowMs, lsn: null };
    }
    if (nowMs - this.#barrier.changedAtMs < RELOAD_SETTLES_MS) return null;
    this.#barrier.lsn ??= seen.receivedLsn;
    return this.#barrier.lsn;
  }
}
