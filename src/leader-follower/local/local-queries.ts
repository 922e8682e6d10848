import { within } from '../../clock/within.ts';
import type pg from 'pg';
import type { Clock } from '../../model/clock.ts';
import { askIsInRecovery, probe } from '../../postgres/probe.ts';
import type { Probe } from '../../postgres/probe.ts';
import type { PostgresServer } from '../../postgres/server.ts';
import { PROBE_TIMEOUT_MS } from '../patience.ts';
import { observeStall } from './core/stall.ts';
import type { StallLook } from './core/stall.ts';

/** Checkpoints and the founding of a database take long; what a round waits for names less. */
const STATEMENT_TIMEOUT_MS = 60_000;

/** Asks the local PostgreSQL, as superuser. A suspended one never answers, hence the time limits. */
export class LocalQueries {
  readonly #server: PostgresServer;
  readonly #clock: Clock;
  #client: pg.Client | null = null;
  #stalledSinceMs: number | null = null;

  constructor(server: PostgresServer, clock: Clock) {
    this.#server = server;
    this.#clock = clock;
  }

  /** How long it has been set to stream without streaming, though there is a leader, by this look and those before. */
  stalledForMs(look: StallLook): number {
    const nowMs = this.#clock.nowMs();
    this.#stalledSinceMs = observeStall(this.#stalledSinceMs, look, nowMs);
    return this.#stalledSinceMs === null ? 0 : nowMs - this.#stalledSinceMs;
  }

  /** Null when PostgreSQL does not run or does not answer. */
  async probe(): Promise<Probe | null> {
    // A round need not wait for what cannot answer.
    if (!this.#server.isRunning || this.#server.isSuspended) return null;
    try {
      return await within(this.#clock, PROBE_TIMEOUT_MS, this.#ask());
    } catch {
      this.close();
      return null;
    }
  }

  /** Without a login, where the connection stands that probes use. Rejects when PostgreSQL does not answer. */
  async isInRecovery(): Promise<boolean> {
    try {
      return await askIsInRecovery(await this.#open());
    } catch {
      // Its session may have been ended since the last probe.
      this.close();
      return askIsInRecovery(await this.#open());
    }
  }

  async #ask(): Promise<Probe> {
    return probe(await this.#open());
  }

  async #open(): Promise<pg.Client> {
    if (this.#client !== null) return this.#client;
    const client = await this.#server.connect();
    // An earlier attempt was given up, and came to something after all.
    if (this.#client !== null) void client.end().catch(() => undefined);
    else this.#client = client;
    return this.#client;
  }

  /** Runs `task` on a connection of its own. */
  async withClient<T>(
    task: (client: pg.Client) => Promise<T>,
    database: string = 'postgres',
    timeoutMs: number = STATEMENT_TIMEOUT_MS,
  ): Promise<T> {
    const client = await this.#server.connect(database);
    try {
      return await within(this.#clock, timeoutMs, task(client));
    } finally {
      void client.end().catch(() => undefined);
    }
  }

  close(): void {
    const client = this.#client;
    this.#client = null;
    void client?.end().catch(() => undefined);
  }
}
