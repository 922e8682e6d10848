import type { SyncSet } from '../../../src/leader-follower/core/cluster-state.ts';
import { decidePolicyStep } from '../../../src/leader-follower/core/sync-policy.ts';
import type { PolicyView } from '../../../src/leader-follower/core/sync-policy.ts';
import { decideSyncSet, formatSynchronousStandbyNames } from '../../../src/leader-follower/core/sync-set.ts';
import type { SyncSetStep } from '../../../src/leader-follower/core/sync-set.ts';
import { PolicyWatch } from '../../../src/leader-follower/duties/policy-watch.ts';
import { RELOAD_SETTLES_MS, REMOVAL_DELAY_MS } from '../../../src/leader-follower/patience.ts';
import type { Lsn } from '../../../src/model/lsn.ts';
import type { NodeId } from '../../../src/model/node.ts';
import type { ModelAgent } from './agent.ts';
import type { MutantName } from './rules.ts';

/** As src/leader-follower/duties/sync-set-keeper.ts. */
export class SyncSetKeeper {
  readonly #agent: ModelAgent;
  readonly #policy: PolicyWatch;
  readonly #lastStreamedAtMs = new Map<NodeId, number>();
  #barrier: { readonly names: string; readonly changedAtMs: number; lsn: Lsn | null } | null;

  constructor(agent: ModelAgent, initialNames: readonly NodeId[]) {
    this.#agent = agent;
    const { host, cluster } = agent;
    const changedAtMs = Number.NEGATIVE_INFINITY;
    this.#barrier = {
      names: namesOf(agent.server.sync.written.required, initialNames),
      changedAtMs,
      lsn: null,
    };
    const sync = agent.leadership.known.state?.sync;
    for (const name of sync?.members ?? []) this.#lastStreamedAtMs.set(name, host.nowMs());
    const tell = (_: unknown, message: string): void => cluster.note(host, () => `  ${message}`);
    this.#policy = new PolicyWatch({ nowMs: () => host.nowMs() }, { add: tell });
    this.#policy.begin(sync);
  }

  step(done: () => void): void {
    const { leadership, server, host, mutant } = this.#agent;
    const { state } = leadership.known;
    if (state === null) return done();
    const nowMs = host.nowMs();
    const { sync, policy } = state;
    this.#policy.tell(sync);
    const candidates = this.#candidates();
    const followers = server.followers
      .map(({ index, flushed, isStreaming }) => ({
        name: this.#agent.cluster.names[index]!,
        isStreaming,
        flushLsn: BigInt(flushed) as Lsn,
      }))
      .filter(({ name }) => candidates.includes(name));
    for (const { name, isStreaming } of followers) if (isStreaming) this.#lastStreamedAtMs.set(name, nowMs);
    const barrierLsn = this.#barrierLsn(nowMs);
    const active = [...server.sync.shown.names].sort();
    const view = {
      self: host.name,
      recorded: sync,
      followers,
      isToBeAlone: false,
      recentlyStreaming: [...this.#lastStreamedAtMs]
        .filter(([name, atMs]) => nowMs - atMs < REMOVAL_DELAY_MS && candidates.includes(name))
        .map(([name]) => name),
      barrierLsn: mutant === 'no-barrier' ? (0n as Lsn) : barrierLsn,
    };
    if (policy === undefined) return this.#take(decideSyncSet({ ...view, active }), sync, done);
    const leaderLsn = BigInt(server.flushed) as Lsn;
    const onTime = this.#policy.observe({ policy, candidates, followers, leaderLsn });
    const required = active.length === 0 ? 0 : server.sync.shown.required;
    const byPolicy: PolicyView = {
      ...view,
      policy,
      candidates,
      onTime,
      active: { required, members: active },
    };
    this.#take(brokenStep(mutant, byPolicy) ?? decidePolicyStep(byPolicy), sync, done);
  }

  #take(step: SyncSetStep, sync: SyncSet, done: () => void): void {
    const { host, mutant, cluster } = this.#agent;
    if (step.kind === 'keep') return done();
    const count = step.required === undefined ? '' : `${step.required} of `;
    cluster.note(host, () => `  ${step.kind} ${count}${step.members.join(' ')}: ${step.reason}`);
    if (mutant === 'activate-before-record' && step.kind === 'record') {
      const names = step.members.filter((name) => name !== host.name);
      const later = (): void => host.after(host.agent, 300, () => this.#do(step, sync, done));
      return this.#agent.local.setNames(names, sync.required, later);
    }
    this.#do(step, sync, done);
  }

  #do(step: Exclude<SyncSetStep, { kind: 'keep' }>, { required }: SyncSet, done: () => void): void {
    const { members } = step;
    const { local, leadership, mutant } = this.#agent;
    if (step.kind === 'activate') {
      if (mutant !== 'old-names-settled') this.#barrier = null;
      return local.setNames(members, step.required ?? required, done);
    }
    leadership.update(
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
    return mutant === 'delayed-counted'
      ? cluster.names.filter((name) => name !== host.name)
      : cluster.countedBy(host);
  }

  #barrierLsn(nowMs: number): Lsn | null {
    const { server } = this.#agent;
    const names = namesOf(server.sync.shown.required, server.sync.shown.names);
    if (this.#barrier?.names !== names) this.#barrier = { names, changedAtMs: nowMs, lsn: null };
    if (nowMs - this.#barrier.changedAtMs < RELOAD_SETTLES_MS) return null;
    this.#barrier.lsn ??= BigInt(server.flushed) as Lsn;
    return this.#barrier.lsn;
  }
}

function namesOf(required: number, names: readonly NodeId[]): string {
  return formatSynchronousStandbyNames(required, [...names].sort());
}

/** What a broken rule does where the right one does something else; null where they do the same. */
function brokenStep(mutant: MutantName | null, view: PolicyView): SyncSetStep | null {
  const { recorded, active, policy, candidates, onTime } = view;
  const wanted = policy.followers === 'all' ? candidates.length : policy.followers;
  const isShort = policy.degradeAfterMs !== null && onTime.length < wanted;
  if (
    mutant === 'degrade-before-record' &&
    isShort &&
    recorded.isDegraded !== true &&
    active.members.length > 0
  )
    return {
      kind: 'activate',
      members: onTime,
      required: onTime.length,
      reason: 'too few followers confirm',
    };
  if (mutant === 'fewer-before-record' && !isShort && wanted < active.required)
    return { kind: 'activate', members: active.members, required: wanted, reason: 'fewer' };
  const isRaised = !isShort && wanted > recorded.required && recorded.members.length >= wanted;
  if (mutant === 'more-recorded-at-once' && isRaised)
    return { kind: 'record', members: recorded.members, required: wanted, reason: 'more' };
  return null;
}
