import type { NodeId } from '../../model/node.ts';
import { supportedUntilMs, supportersNeeded } from '../core/support.ts';
import { voters } from '../config/config.ts';
import type { ClusterConfig } from '../config/config.ts';
import type { VotersToCome } from './coming-voters.ts';
import type { LeaderSupport } from './leadership-hold.ts';

export interface SupportOptions {
  readonly self: NodeId;
  /** The nodes that vote. While they change, those of before and after: support must suffice by each of them. */
  readonly memberSets: () => readonly (readonly NodeId[])[];
  readonly supportMs: number;
}

/** The nodes that vote, and those that will while they change. */
export function memberSetsOf(config: ClusterConfig, votersToCome: VotersToCome): readonly NodeId[][] {
  const present = voters(config).map((voter) => voter.name);
  const coming = votersToCome.names;
  return coming === null ? [present] : [present, [...coming]];
}

/** The leader's side of support: counts how long the members' answers to its pings hold it up. */
export class SupportOfMembers implements LeaderSupport {
  readonly #options: SupportOptions;
  readonly #answeredPingSentAtMs = new Map<NodeId, number>();

  constructor(options: SupportOptions) {
    this.#options = options;
  }

  /** A member supports the ping that was sent at `sentAtMs`. Whether that is news. */
  heard(from: NodeId, sentAtMs: number): boolean {
    if (from === this.#options.self) return false;
    if (sentAtMs <= (this.#answeredPingSentAtMs.get(from) ?? Number.NEGATIVE_INFINITY)) return false;
    this.#answeredPingSentAtMs.set(from, sentAtMs);
    return true;
  }

  /** A new leadership starts without support. */
  forget(): void {
    this.#answeredPingSentAtMs.clear();
  }

  /** Until when enough members hold the leader up. */
  get untilMs(): number {
    const { self } = this.#options;
    return this.#untilMs((members) => supportersNeeded(members.length, members.includes(self)));
  }

  /** Until when all of them do, which stands in for coordination that cannot be reached. */
  get failsafeUntilMs(): number {
    return this.#untilMs((members) => members.filter((name) => name !== this.#options.self).length);
  }

  #untilMs(neededOf: (members: readonly NodeId[]) => number): number {
    const { memberSets, supportMs } = this.#options;
    const untilMs = memberSets().map((members) => {
      const sentAtMs = [...this.#answeredPingSentAtMs]
        .filter(([name]) => members.includes(name))
        .map(([, atMs]) => atMs);
      return supportedUntilMs(sentAtMs, neededOf(members), supportMs);
    });
    return Math.min(...untilMs);
  }
}
