import type { SyncSet } from '../../../src/leader-follower/core/cluster-state.ts';
import {
  decideSyncSet,
  formatSynchronousStandbyNames,
  requiredBy,
} from '../../../src/leader-follower/core/sync-set.ts';
import type {
  StreamingFollower,
  SyncSetStep,
  SyncSetView,
} from '../../../src/leader-follower/core/sync-set.ts';
import { confirmedLsn, observeWaiting } from '../../../src/leader-follower/duties/core/confirmations.ts';
import type { Waiting } from '../../../src/leader-follower/duties/core/confirmations.ts';
import type { Lsn } from '../../../src/model/lsn.ts';
import type { NodeId } from '../../../src/model/node.ts';
import type { ModelAgent } from './agent.ts';
import type { MutantName } from './rules.ts';

const REMOVAL_DELAY_MS = 2_000;
const RELOAD_SETTLES_MS = 1_000;
const KEEPS_UP_MS = 1_000;

/** As src/leader-follower/duties/sync-set-keeper.ts. */
export class SyncSetKeeper {
  readonly #agent: ModelAgent;
  readonly #lastStreamedAtMs = new Map<NodeId, number>();
  #waiting: Waiting | null = null;
  #earlier: readonly { readonly lsn: Lsn; readonly atMs: number }[] = [];
  #barrier: { readonly names: string; readonly changedAtMs: number; lsn: Lsn | null };

  constructor(agent: ModelAgent, initialNames: readonly NodeId[]) {
    this.#agent = agent;
    const changedAtMs = Number.NEGATIVE_INFINITY;
    this.#barrier = { names: namesOf(agent.server.required, initialNames), changedAtMs, lsn: null };
    const members = agent.leadership.known.state?.sync.members ?? [];
    for (const name of members) this.#lastStreamedAtMs.set(name, agent.host.nowMs());
  }

  step(done: () => void): void {
    const { leadership, server, host, mutant } = this.#agent;
    const { state } = leadership.known;
    if (state === null) return done();
    const nowMs = host.nowMs();
    const { sync, policy } = state;
    const candidates = this.#candidates();
    const connected = server.followers
      .map(({ index, flushed, isStreaming }) => ({
        name: this.#agent.cluster.names[index]!,
        isStreaming,
        flushLsn: BigInt(flushed) as Lsn,
      }))
      .filter(({ name }) => candidates.includes(name));
    const followers =
      sync.isDegraded === true ? connected.filter(({ flushLsn }) => this.#keepsUp(flushLsn)) : connected;
    this.#look(connected, sync.required, nowMs);
    for (const { name, isStreaming } of followers) if (isStreaming) this.#lastStreamedAtMs.set(name, nowMs);
    const barrierLsn = this.#barrierLsn(nowMs);
    const view: SyncSetView = {
      self: host.name,
      recorded: sync,
      active: [...server.names].sort(),
      followers,
      isToBeAlone: false,
      wantedRequired: requiredBy(policy, candidates.length, sync.required),
      activeRequired: server.names.length === 0 ? 0 : server.required,
      isToDegrade:
        policy?.degradeAfterMs != null &&
        sync.members.length > 0 &&
        this.#waiting !== null &&
        nowMs - this.#waiting.sinceMs >= policy.degradeAfterMs,
      recentlyStreaming: [...this.#lastStreamedAtMs]
        .filter(([name, atMs]) => nowMs - atMs < REMOVAL_DELAY_MS && candidates.includes(name))
        .map(([name]) => name),
      barrierLsn: mutant === 'no-barrier' ? (0n as Lsn) : barrierLsn,
    };
    const step = brokenStep(mutant, view) ?? decideSyncSet(view);
    if (step.kind === 'keep') return done();
    this.#agent.cluster.note(host, () => `  ${step.kind} ${step.members.join(' ')}: ${step.reason}`);
    if (mutant === 'activate-before-record' && step.kind === 'record') {
      const names = step.members.filter((name) => name !== host.name);
      const later = (): void => host.after(host.agent, 300, () => this.#do(step, sync, done));
      return this.#agent.local.setNames(names, sync.required, later);
    }
    this.#do(step, sync, done);
  }

  #do(step: Exclude<SyncSetStep, { kind: 'keep' }>, { required }: SyncSet, done: () => void): void {
    const { members } = step;
    if (step.kind === 'activate') return this.#agent.local.setNames(members, step.required ?? required, done);
    this.#agent.leadership.update(
      (state) => ({
        ...state,
        sync: {
          required: step.required ?? state.sync.required,
          members,
          ...(step.isDegraded === true ? { isDegraded: true } : {}),
        },
      }),
      done,
    );
  }

  #candidates(): readonly NodeId[] {
    const { cluster, host, mutant } = this.#agent;
    const isCounted = (name: NodeId): boolean =>
      mutant === 'delayed-counted' || !cluster.delayed.includes(name);
    return cluster.names.filter((name) => name !== host.name && isCounted(name));
  }

  #look(followers: readonly StreamingFollower[], required: number, nowMs: number): void {
    const end = BigInt(this.#agent.server.flushed) as Lsn;
    this.#waiting = observeWaiting(this.#waiting, end, confirmedLsn(followers, required), nowMs);
    const newest = this.#earlier.at(-1);
    if (newest === undefined || nowMs - newest.atMs >= KEEPS_UP_MS)
      this.#earlier = [...this.#earlier.slice(-1), { lsn: end, atMs: nowMs }];
  }

  #keepsUp(flushLsn: Lsn): boolean {
    const [earlier] = this.#earlier;
    return this.#earlier.length === 2 && earlier !== undefined && flushLsn >= earlier.lsn;
  }

  #barrierLsn(nowMs: number): Lsn | null {
    const { server } = this.#agent;
    const names = namesOf(server.required, server.names);
    if (this.#barrier.names !== names) this.#barrier = { names, changedAtMs: nowMs, lsn: null };
    if (nowMs - this.#barrier.changedAtMs < RELOAD_SETTLES_MS) return null;
    this.#barrier.lsn ??= BigInt(server.flushed) as Lsn;
    return this.#barrier.lsn;
  }
}

function namesOf(required: number, names: readonly NodeId[]): string {
  return formatSynchronousStandbyNames(required, [...names].sort());
}

/** What a broken rule does where the right one does something else; null where they do the same. */
function brokenStep(mutant: MutantName | null, view: SyncSetView): SyncSetStep | null {
  const { recorded, active, wantedRequired = 1, activeRequired = 1 } = view;
  if (mutant === 'degrade-before-record' && view.isToDegrade === true && active.length > 0)
    return { kind: 'activate', members: [], reason: 'too few followers confirm' };
  if (mutant === 'fewer-before-record' && wantedRequired < activeRequired && active.length > 0)
    return { kind: 'activate', members: active, required: wantedRequired, reason: 'fewer' };
  const isRaised = wantedRequired > recorded.required && recorded.members.length >= wantedRequired;
  if (mutant === 'more-recorded-at-once' && isRaised)
    return { kind: 'record', members: recorded.members, required: wantedRequired, reason: 'more' };
  return null;
}
