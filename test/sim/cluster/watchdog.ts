import type { RightDeadlines } from '../../../src/leader-follower/core/support.ts';
import { WATCHDOG_INTERVAL_MS } from '../../../src/postgres/watchdog/suspension.ts';
import type { Host } from './host.ts';
import type { ModelPostgres } from './postgres.ts';
import type { MutantName } from './rules.ts';

/** Between agent and PostgreSQL: freezes and kills at the deadlines, and kills when the agent is gone. */
export class ModelWatchdog {
  readonly #host: Host;
  readonly #server: ModelPostgres;
  readonly #usesWallClock: boolean;
  #wallJumpMs = 0;
  #deadlines: RightDeadlines | null = null;
  /** What the agent gave last, to this watchdog or to one before. */
  #given: RightDeadlines | null = null;
  #looksAtMs = Number.POSITIVE_INFINITY;
  isFrozen = false;

  constructor(host: Host, server: ModelPostgres, mutant: MutantName | null) {
    this.#host = host;
    this.#server = server;
    this.#usesWallClock = mutant === 'wall-clock-lease';
  }

  begin(): void {
    this.#host.watchdog.begin();
    this.#deadlines = null;
    this.#looksAtMs = Number.POSITIVE_INFINITY;
    this.isFrozen = false;
  }

  /** By the deadlines that it holds, PostgreSQL may run. */
  mayWrite(): boolean {
    return this.#deadlines !== null && this.#nowMs() < this.#deadlines.freezeAtMs;
  }

  /** A new agent has given none. */
  forget(): void {
    this.#given = null;
  }

  /** Before a promotion: the deadlines may have been given to an earlier watchdog. */
  tellAgain(): void {
    this.set(this.#given);
  }

  set(deadlines: RightDeadlines | null): void {
    this.#given = deadlines;
    this.#tell(() => {
      this.#deadlines = deadlines;
      this.#wallJumpMs = this.#host.wallJumpMs;
      this.#enforce();
    });
  }

  kill(reason: string): void {
    this.#tell(() => this.#server.kill(reason));
  }

  #tell(run: () => void): void {
    this.#host.watchdog.deliver(this.#host.watchdog.life, run);
  }

  #enforce(): void {
    if (!this.#server.isRunning) return;
    const nowMs = this.#nowMs();
    if (this.#deadlines !== null && nowMs >= this.#deadlines.killAtMs)
      return this.#server.kill('the lease ran out');
    const mustFreeze = this.#deadlines !== null && nowMs >= this.#deadlines.freezeAtMs;
    if (mustFreeze && !this.isFrozen) this.#host.postgres.stop('watchdog');
    if (!mustFreeze && this.isFrozen) this.#host.postgres.resume('watchdog');
    this.isFrozen = mustFreeze;
    if (this.#deadlines !== null)
      this.#lookAt(mustFreeze ? this.#deadlines.killAtMs : this.#deadlines.freezeAtMs);
  }

  /** The monotonic clock. By the wall clock, what was set before it jumped would be off by the jump. */
  #nowMs(): number {
    return this.#host.nowMs() + (this.#usesWallClock ? this.#host.wallJumpMs - this.#wallJumpMs : 0);
  }

  /** One timer for all: it looks at the newest deadlines when it fires, a check interval late at most. */
  #lookAt(atMs: number): void {
    if (!Number.isFinite(atMs) || this.#looksAtMs <= atMs + WATCHDOG_INTERVAL_MS) return;
    const looksAtMs = atMs + this.#host.random() * WATCHDOG_INTERVAL_MS;
    this.#looksAtMs = looksAtMs;
    this.#host.after(this.#host.watchdog, looksAtMs - this.#nowMs(), () => {
      if (this.#looksAtMs !== looksAtMs) return;
      this.#looksAtMs = Number.POSITIVE_INFINITY;
      this.#enforce();
    });
  }
}
