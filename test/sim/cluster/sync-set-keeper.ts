import { decideSyncSet } from '../../../src/leader-follower/core/sync-set.ts';
import type { SyncSetStep } from '../../../src/leader-follower/core/sync-set.ts';
import type { Lsn } from '../../../src/model/lsn.ts';
import type { NodeId } from '../../../src/model/node.ts';
import type { ModelAgent } from './agent.ts';

const REMOVAL_DELAY_MS = 2_000;
const RELOAD_SETTLES_MS = 1_000;

/** As src/leader-follower/duties/sync-set-keeper.ts. */
export class SyncSetKeeper {
  readonly #agent: ModelAgent;
  readonly #lastStreamedAtMs = new Map<NodeId, number>();
  #barrier: { readonly names: string; readonly changedAtMs: number; lsn: Lsn | null };

  constructor(agent: ModelAgent, initialNames: readonly NodeId[]) {
    this.#agent = agent;
    const changedAtMs = Number.NEGATIVE_INFINITY;
    this.#barrier = { names: [...initialNames].sort().join(','), changedAtMs, lsn: null };
    const members = agent.leadership.known.state?.sync.members ?? [];
    for (const name of members) this.#lastStreamedAtMs.set(name, agent.host.nowMs());
  }

  step(done: () => void): void {
    const { leadership, server, host, cluster, mutant } = this.#agent;
    const { state } = leadership.known;
    if (state === null) return done();
    const nowMs = host.nowMs();
    const followers = server.followers.map(({ index, flushed, isStreaming }) => ({
      name: cluster.names[index]!,
      isStreaming,
      flushLsn: BigInt(flushed) as Lsn,
    }));
    for (const { name, isStreaming } of followers) if (isStreaming) this.#lastStreamedAtMs.set(name, nowMs);
    const barrierLsn = this.#barrierLsn(nowMs);
    const step = decideSyncSet({
      self: host.name,
      recorded: state.sync,
      active: [...server.names].sort(),
      followers,
      isToBeAlone: false,
      recentlyStreaming: [...this.#lastStreamedAtMs]
        .filter(([, atMs]) => nowMs - atMs < REMOVAL_DELAY_MS)
        .map(([name]) => name),
      barrierLsn: mutant === 'no-barrier' ? (0n as Lsn) : barrierLsn,
    });
    if (step.kind === 'keep') return done();
    cluster.note(host, () => `  ${step.kind} ${step.members.join(' ')}: ${step.reason}`);
    if (mutant === 'activate-before-record' && step.kind === 'record') {
      const names = step.members.filter((name) => name !== host.name);
      return this.#agent.local.setNames(names, () => host.after(host.agent, 300, () => this.#do(step, done)));
    }
    this.#do(step, done);
  }

  #do(step: Exclude<SyncSetStep, { kind: 'keep' }>, done: () => void): void {
    const { members } = step;
    if (step.kind === 'activate') return this.#agent.local.setNames(members, done);
    this.#agent.leadership.update((state) => ({ ...state, sync: { ...state.sync, members } }), done);
  }

  #barrierLsn(nowMs: number): Lsn | null {
    const { server } = this.#agent;
    const names = [...server.names].sort().join(',');
    if (this.#barrier.names !== names) this.#barrier = { names, changedAtMs: nowMs, lsn: null };
    if (nowMs - this.#barrier.changedAtMs < RELOAD_SETTLES_MS) return null;
    this.#barrier.lsn ??= BigInt(server.flushed) as Lsn;
    return this.#barrier.lsn;
  }
}
