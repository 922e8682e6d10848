import { every } from '../../clock/every.ts';
import type { Clock } from '../../model/clock.ts';
import type { NodeId } from '../../model/node.ts';
import type { Ping } from '../core/support.ts';
import { PING_INTERVAL_MS, SILENT_AFTER_FAILING_MS } from '../patience.ts';
import type { LeadershipHold } from './leadership-hold.ts';
import type { RegisterReader } from './register-reader.ts';
import type { SupportOfMembers } from './support-of-members.ts';

export interface LeaderPingsOptions {
  readonly self: NodeId;
  readonly supportMs: number;
  readonly register: RegisterReader;
  readonly hold: LeadershipHold;
  readonly support: SupportOfMembers;
  readonly peers: {
    ping(ping: Ping): void;
    onPong(listener: (from: NodeId, supports: boolean, sentAtMs: number) => void): void;
  };
  /** For how long its PostgreSQL has failed to write. */
  readonly writeHealth: { readonly failingForMs: number };
  /** Whether the whole cluster is paused. */
  readonly plan: { readonly isPaused: boolean };
  readonly clock: Clock;
}

/** Pings the members while this node leads, and moves the leader's right to write on by their answers. */
export class LeaderPings {
  readonly #options: LeaderPingsOptions;
  readonly #end: () => void;

  constructor(options: LeaderPingsOptions) {
    const { peers, support, hold, clock } = options;
    this.#options = options;
    this.#end = every(clock, PING_INTERVAL_MS, () => this.#ping());
    hold.onWon(() => this.#ping());
    peers.onPong((from, supports, sentAtMs) => {
      if (supports && support.heard(from, sentAtMs)) hold.moved();
    });
  }

  close(): void {
    this.#end();
  }

  #ping(): void {
    const ping = this.#own();
    if (ping !== null) this.#options.peers.ping(ping);
  }

  /** This node's word to the others while it holds the leadership and its PostgreSQL is well; else null. */
  #own(): Ping | null {
    const { self, register, hold, supportMs, writeHealth, plan } = this.#options;
    const { version, state } = register.known;
    const lease = hold.ownLease;
    if (state?.leadership.holder !== self || lease.kind === 'none') return null;
    // Were this agent to hang together with the disk, silence is all that tells the others.
    // While the cluster is paused nobody would take over: being frozen would help nobody.
    if (writeHealth.failingForMs > SILENT_AFTER_FAILING_MS && !plan.isPaused) return null;
    return { holder: self, term: lease.term, version, supportMs };
  }
}
