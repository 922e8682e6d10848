import { expiredForMs, observeLease } from '../../coordination/core/lease.ts';
import type { LeaseObservation } from '../../coordination/core/lease.ts';
import type { Coordination, Register } from '../../coordination/contract.ts';
import type { Clock } from '../../model/clock.ts';
import type { ClusterState } from '../core/cluster-state.ts';

/** The register that all agents of a cluster share. */
export const CLUSTER_KEY = 'cluster';

export interface KnownRegister {
  readonly version: number;
  readonly state: ClusterState | null;
}

/** What this agent knows of the cluster's register, and since when; it never goes back to an older version. */
export class RegisterReader {
  readonly #coordination: Coordination;
  readonly #clock: Clock;
  readonly #onLearned: ((before: KnownRegister) => void)[] = [];
  readonly #onNewLeader: (() => void)[] = [];
  #known: KnownRegister = { version: 0, state: null };
  #changedAtMs: number;
  #observation: LeaseObservation | null = null;

  constructor(coordination: Coordination, clock: Clock) {
    this.#coordination = coordination;
    this.#clock = clock;
    this.#changedAtMs = clock.nowMs();
  }

  /** The newest register seen. */
  get known(): KnownRegister {
    return this.#known;
  }

  /** For how long {@link known} has been the newest. */
  get unchangedForMs(): number {
    return this.#clock.nowMs() - this.#changedAtMs;
  }

  /** How long ago the present lease could have been taken; 0 while it could not. */
  get leaseExpiredForMs(): number {
    return this.#observation === null ? 0 : expiredForMs(this.#observation, this.#clock.nowMs());
  }

  /** Reads the register. Throws QUORUM_NOT_REACHED. */
  async refresh(): Promise<KnownRegister> {
    this.learn(await this.#coordination.read(CLUSTER_KEY));
    return this.#known;
  }

  /** Calls `listener` with what was known before, each time that something was learned. */
  onLearned(listener: (before: KnownRegister) => void): void {
    this.#onLearned.push(listener);
  }

  /** Calls `listener` when a holder or term is seen for the first time. */
  onNewLeader(listener: () => void): void {
    this.#onNewLeader.push(listener);
  }

  /** Takes what coordination said, here or to whoever writes. */
  learn({ version, value }: Register): void {
    const before = this.#known;
    if (version < before.version) return;
    const state = (value ?? null) as ClusterState | null;
    const nowMs = this.#clock.nowMs();
    if (version > before.version) this.#changedAtMs = nowMs;
    this.#known = { version, state };
    if (state !== null) {
      const { holder, term, nonce, ttlMs, isReleased } = state.leadership;
      this.#observation = observeLease(this.#observation, { nonce, ttlMs: isReleased ? 0 : ttlMs }, nowMs);
      const old = before.state?.leadership;
      if (old?.term !== term || old.holder !== holder) for (const listener of this.#onNewLeader) listener();
    }
    for (const listener of this.#onLearned) listener(before);
  }
}
