import type { NodeId } from '../../model/node.ts';
import { supportedUntilMs, supportersNeeded } from '../core/support.ts';
import { voters } from '../config/config.ts';
import type { ClusterConfig } from '../config/config.ts';
import type { Ping } from '../core/support.ts';
import type { LeadershipRegister } from './leadership.ts';

/** How often the leader pings. Five pings may be lost or late before support of the default length ends. */
const PING_INTERVAL_MS = 50;

export interface SupportOptions {
  readonly self: NodeId;
  /** The nodes that vote. While they change, those of before and after: support must suffice by each of them. */
  readonly memberSets: () => readonly (readonly NodeId[])[];
  readonly supportMs: number;
  /** What to ping with; null while this node holds no leadership, or its PostgreSQL is not well. */
  readonly currentPing: () => Ping | null;
  readonly sendPing: (ping: Ping) => void;
  /** The answers moved the limits. */
  readonly onMoved: () => void;
}

/** The nodes that vote, and those that will while they change. */
export function memberSetsOf(config: ClusterConfig, register: LeadershipRegister): readonly NodeId[][] {
  const present = voters(config).map((voter) => voter.name);
  const coming = register.comingVoters;
  return coming === null ? [present] : [present, [...coming]];
}

/** The leader's side of support: pings the members and counts how long their answers hold it up. */
export class SupportOfMembers {
  readonly #options: SupportOptions;
  readonly #answeredPingSentAtMs = new Map<NodeId, number>();
  readonly #timer: NodeJS.Timeout;

  constructor(options: SupportOptions) {
    this.#options = options;
    this.#timer = setInterval(() => this.ping(), PING_INTERVAL_MS);
  }

  /** Pings now, as it also does by itself. */
  ping(): void {
    const ping = this.#options.currentPing();
    if (ping !== null) this.#options.sendPing(ping);
  }

  /** A member supports the ping that was sent at `sentAtMs`. */
  heard(from: NodeId, sentAtMs: number): void {
    if (from === this.#options.self) return;
    if (sentAtMs <= (this.#answeredPingSentAtMs.get(from) ?? Number.NEGATIVE_INFINITY)) return;
    this.#answeredPingSentAtMs.set(from, sentAtMs);
    this.#options.onMoved();
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

  close(): void {
    clearInterval(this.#timer);
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
