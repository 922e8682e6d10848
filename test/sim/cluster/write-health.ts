import { WRITE_CHECK_INTERVAL_MS } from '../../../src/leader-follower/patience.ts';
import type { ModelAgent } from './agent.ts';

/** Whether the leader's PostgreSQL still writes, as src/leader-follower/local/write-health.ts finds it. */
export class ModelWriteHealth {
  readonly #agent: ModelAgent;
  #writesAtMs: number;

  constructor(agent: ModelAgent) {
    this.#agent = agent;
    this.#writesAtMs = agent.host.nowMs();
  }

  get failingForMs(): number {
    const silentMs = this.#agent.host.nowMs() - this.#writesAtMs;
    return silentMs > 2 * WRITE_CHECK_INTERVAL_MS ? silentMs : 0;
  }

  /** From here on it looks again and again. */
  begin(): void {
    const { server, host, watchdog, leadership } = this.#agent;
    host.after(host.agent, WRITE_CHECK_INTERVAL_MS, () => {
      const isWatched = !watchdog.isFrozen && leadership.ownLease.kind === 'held' && server.mode === 'leader';
      if (!isWatched || (host.postgres.isRunning && !host.isDiskHung)) this.#writesAtMs = host.nowMs();
      this.begin();
    });
  }
}
