import type pg from 'pg';
import { monotonicMs } from '../postgres/monotonic-clock.ts';

const CHECK_INTERVAL_MS = 500;

/**
 * Whether the leader's PostgreSQL still writes: a server whose disk hangs goes on answering reads. Where its
 * log moved since the last look, somebody's write reached the disk; otherwise it makes one of its own.
 */
export class WriteHealth {
  readonly #connect: () => Promise<pg.Client>;
  readonly #isWatched: () => boolean;
  readonly #timer: NodeJS.Timeout;
  #client: pg.Client | null = null;
  #flushed = '';
  #isChecking = false;
  #goodAtMs = monotonicMs();

  /** Counts only while `isWatched`: while this node leads and is not frozen. */
  constructor(connect: () => Promise<pg.Client>, isWatched: () => boolean) {
    this.#connect = connect;
    this.#isWatched = isWatched;
    this.#timer = setInterval(() => void this.#check(), CHECK_INTERVAL_MS);
  }

  /** How long no write has reached the disk; 0 while all is well. */
  get failingForMs(): number {
    const silentMs = monotonicMs() - this.#goodAtMs;
    return silentMs > 2 * CHECK_INTERVAL_MS ? silentMs : 0;
  }

  close(): void {
    clearInterval(this.#timer);
    void this.#drop();
  }

  async #check(): Promise<void> {
    if (!this.#isWatched()) {
      this.#goodAtMs = monotonicMs();
      if (!this.#isChecking) void this.#drop();
      return;
    }
    if (this.#isChecking) return;
    this.#isChecking = true;
    try {
      this.#client ??= await this.#connect();
      await this.#write(this.#client);
      this.#goodAtMs = monotonicMs();
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
