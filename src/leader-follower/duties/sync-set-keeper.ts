import type { Lsn } from '../../model/lsn.ts';
import type { Clock } from '../../model/clock.ts';
import type { NodeId } from '../../model/node.ts';
import type { Probe } from '../../postgres/probe.ts';
import type { ClusterConfig } from '../config/config.ts';
import { countedOthers, decidePolicyStep } from '../core/sync-policy.ts';
import {
  decideSyncSet,
  formatSynchronousStandbyNames,
  parseRequired,
  parseSynchronousStandbyNames,
} from '../core/sync-set.ts';
import type { StreamingFollower, SyncSetStep } from '../core/sync-set.ts';
import type { SyncPolicy, SyncSet } from '../core/cluster-state.ts';
import { withoutJoining } from '../members/core/node-list.ts';
import { PolicyWatch } from './policy-watch.ts';
import type { EventLog } from '../report/event-log.ts';
import type { LeadershipHold } from '../leadership/leadership-hold.ts';
import type { RegisterReader } from '../leadership/register-reader.ts';
import { RELOAD_SETTLES_MS, REMOVAL_DELAY_MS } from '../patience.ts';
import type { LocalPort } from '../ports.ts';
import type { LeaderDuty, LeadershipBegin } from './leader-duty.ts';

/** Walks the leader's sync set towards the streaming followers, one safe step per call. */
export class SyncSetKeeper implements LeaderDuty {
  readonly #self: NodeId;
  readonly #clock: Clock;
  readonly #register: RegisterReader;
  readonly #hold: LeadershipHold;
  readonly #local: LocalPort;
  readonly #events: EventLog;
  readonly #config: ClusterConfig;
  readonly #policy: PolicyWatch;
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
    this.#policy = new PolicyWatch(options.clock, options.events);
  }

  async start({ standbyNames }: LeadershipBegin): Promise<void> {
    this.#barrier = { names: standbyNames, changedAtMs: Number.NEGATIVE_INFINITY, lsn: null };
    // A new leader's followers get the same time to come back as after any other hiccup.
    const sync = this.#register.known.state?.sync;
    const members = sync?.members ?? [];
    this.#policy.begin(sync);
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
    const { state } = this.#register.known;
    if (state === null) return;
    const { policy, sync } = state;
    const nowMs = this.#clock.nowMs();
    this.#policy.tell(sync);
    const followers = seen.followers.map((follower) => ({ ...follower, name: follower.name as NodeId }));
    if (policy !== undefined && (await this.#endJoining(policy, followers))) return;
    const candidates = this.#candidates();
    const counted = followers.filter(({ name }) => candidates.includes(name));
    for (const follower of counted) {
      if (follower.isStreaming) this.#lastStreamedAtMs.set(follower.name, nowMs);
    }
    const active = parseSynchronousStandbyNames(seen.synchronousStandbyNames);
    const view = {
      self: this.#self,
      recorded: sync,
      followers: counted,
      isToBeAlone: candidates.length === 0 && this.#config.nodes.some((node) => node.isLeaving === true),
      recentlyStreaming: [...this.#lastStreamedAtMs]
        .filter(([name, atMs]) => nowMs - atMs < REMOVAL_DELAY_MS && candidates.includes(name))
        .map(([name]) => name),
      barrierLsn: this.#barrierLsn(seen, nowMs),
    };
    if (policy === undefined) return this.#do(decideSyncSet({ ...view, active }), sync);
    const onTime = this.#policy.observe({
      policy,
      candidates,
      followers: counted,
      leaderLsn: seen.receivedLsn,
    });
    const waitedFor = { required: parseRequired(seen.synchronousStandbyNames), members: active };
    return this.#do(decidePolicyStep({ ...view, policy, candidates, onTime, active: waitedFor }), sync);
  }

  async #do(step: SyncSetStep, { required }: SyncSet): Promise<void> {
    switch (step.kind) {
      case 'keep':
        return;
      case 'record': {
        const { members, isDegraded } = step;
        const isRecorded = await this.#hold.update((current) => ({
          ...current,
          sync: {
            required: step.required ?? current.sync.required,
            members,
            ...(isDegraded === true ? { isDegraded } : {}),
          },
        }));
        const names = members.join(', ') || 'no other node';
        if (isRecorded) this.#events.add('sync-set', `recorded ${names}: ${step.reason}`);
        return;
      }
      case 'activate': {
        const { members } = step;
        // A probe may still show the names before: what they had settled does not hold for these.
        this.#barrier = null;
        const count = step.required ?? required;
        await this.#local.setStandbyNames(formatSynchronousStandbyNames(count, members));
        const some = count === 1 ? 'one' : `${count}`;
        this.#events.add(
          'sync-set',
          `synchronous commits wait for ${members.length === 0 ? 'nobody' : `${some} of ${members.join(', ')}`}: ${step.reason}`,
        );
      }
    }
  }

  /** A node that streams has its data: from now on it is waited for. Returns whether one was found, which the next step sees. */
  async #endJoining(policy: SyncPolicy, followers: readonly StreamingFollower[]): Promise<boolean> {
    const arrived = followers.filter(({ isStreaming }) => isStreaming).map(({ name }) => name);
    if (policy.joining?.some((name) => arrived.includes(name)) !== true) return false;
    await this.#hold.update((current) =>
      current.policy === undefined
        ? current
        : { ...current, policy: withoutJoining(current.policy, arrived) },
    );
    return true;
  }

  /** The nodes that commits may wait for: those that could lead. */
  #candidates(): readonly NodeId[] {
    return countedOthers(this.#config.nodes, this.#self, this.#register.known.state?.policy);
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
