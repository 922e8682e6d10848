import type pg from 'pg';
import { every } from '../../clock/every.ts';
import type { Clock } from '../../model/clock.ts';
import type { PostgresServer } from '../../postgres/server.ts';
import { WRITE_CHECK_INTERVAL_MS } from '../patience.ts';

type WatchedServer = Pick<PostgresServer, 'isFrozen' | 'isSuspended' | 'connect'>;

const SUSPENSION_INTERVAL_MS = 100;

/**
 * Whether the leader's PostgreSQL still writes: a server whose disk hangs goes on answering reads. Where its
 * log moved since the last look, somebody's write reached the disk; otherwise it makes one of its own.
 */
export class WriteHealth {
  readonly #server: WatchedServer;
  readonly #isLeading: () => boolean;
  readonly #clock: Clock;
  readonly #endChecks: () => void;
  readonly #endLooks: () => void;
  #client: pg.Client | null = null;
  #flushed = '';
  #isChecking = false;
  #goodAtMs: number;
  #lookedAtMs: number;
  /** From the first to the last look that found it. */
  #suspension: { readonly sinceMs: number; readonly untilMs: number } | null = null;

  /** Counts only while `isLeading`, and not the time that its watchdog has PostgreSQL frozen. */
  constructor(server: WatchedServer, clock: Clock, isLeading: () => boolean) {
    this.#server = server;
    this.#isLeading = isLeading;
    this.#clock = clock;
    this.#goodAtMs = clock.nowMs();
    this.#lookedAtMs = this.#goodAtMs;
    this.#endChecks = every(clock, WRITE_CHECK_INTERVAL_MS, () => void this.#check());
    this.#endLooks = every(clock, SUSPENSION_INTERVAL_MS, () => this.#lookForSuspension());
  }

  /** How long no write has reached the disk; 0 while all is well. */
  get failingForMs(): number {
    const sinceLookMs = Math.min(this.#clock.nowMs() - this.#lookedAtMs, WRITE_CHECK_INTERVAL_MS);
    const silentMs = this.#lookedAtMs + sinceLookMs - this.#goodAtMs;
    return silentMs > 2 * WRITE_CHECK_INTERVAL_MS ? silentMs : 0;
  }

  /** How long somebody else than its watchdog has had PostgreSQL suspended. */
  get suspendedForMs(): number {
    return this.#suspension === null ? 0 : this.#suspension.untilMs - this.#suspension.sinceMs;
  }

  close(): void {
    this.#endChecks();
    this.#endLooks();
    void this.#drop();
  }

  #lookForSuspension(): void {
    const nowMs = this.#clock.nowMs();
    const isSuspended = this.#isLeading() && !this.#server.isFrozen && this.#server.isSuspended;
    // Where this agent did not run in between, perhaps all were suspended, and are woken one after the other.
    const isNew = this.#suspension === null || nowMs - this.#suspension.untilMs > 4 * SUSPENSION_INTERVAL_MS;
    const sinceMs = isNew || this.#suspension === null ? nowMs : this.#suspension.sinceMs;
    this.#suspension = isSuspended ? { sinceMs, untilMs: nowMs } : null;
  }

  async #check(): Promise<void> {
    const nowMs = this.#clock.nowMs();
    const sinceLookMs = nowMs - this.#lookedAtMs;
    this.#lookedAtMs = nowMs;
    if (!this.#isLeading()) {
      this.#goodAtMs = nowMs;
      if (!this.#isChecking) void this.#drop();
      return;
    }
    // Time in which PostgreSQL was frozen, or this agent itself did not run, says nothing about its writes.
    const countedMs = this.#server.isFrozen ? 0 : Math.min(sinceLookMs, WRITE_CHECK_INTERVAL_MS);
    this.#goodAtMs = Math.min(nowMs, this.#goodAtMs + sinceLookMs - countedMs);
    if (this.#isChecking || this.#server.isFrozen) return;
    this.#isChecking = true;
    try {
      this.#client ??= await this.#server.connect();
      await this.#write(this.#client);
      this.#goodAtMs = this.#clock.nowMs();
    } catch {
      void this.#drop();
    } finally {
      this.#isChecking = false;
    }
  }

  async #write(client: pg.Client): Promise<void> {
    const before = this.#flushed;
    this.#flushed = await readFlushed(client);
    if (this.#flushed !== before) return;
    // Commits, with this connection's synchronous_commit = local, when it is on this server's disk.
    await client.query(`SELECT pg_logical_emit_message(true, 'lockstep', 'health')`);
    this.#flushed = await readFlushed(client);
  }

  async #drop(): Promise<void> {
    const client = this.#client;
    this.#client = null;
    await client?.end().catch(() => undefined);
  }
}

async function readFlushed(client: pg.Client): Promise<string> {
  const { rows } = await client.query<{ lsn: string }>('SELECT pg_current_wal_flush_lsn() AS lsn');
  return rows[0]?.lsn ?? '';
}
