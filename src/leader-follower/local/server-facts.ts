import type pg from 'pg';
import { every } from '../../clock/every.ts';
import type { Clock } from '../../model/clock.ts';

const INTERVAL_MS = 2_000;

/** What a running PostgreSQL says of itself. */
export interface ServerFacts {
  /** For example `17.4`: of the process that runs, not of the files on disk. */
  readonly version: string;
  /** Settings that were changed in its files and wait for a restart. */
  readonly pendingRestart: readonly string[];
}

/** Looks now and then; a connection of its own, because a probe must not get slower by it. */
export class ServerFactsWatch {
  readonly #connect: () => Promise<pg.Client>;
  readonly #isRunning: () => boolean;
  readonly #end: () => void;
  #client: pg.Client | null = null;
  #known: ServerFacts | null = null;
  #isLooking = false;

  constructor(connect: () => Promise<pg.Client>, isRunning: () => boolean, clock: Clock) {
    this.#connect = connect;
    this.#isRunning = isRunning;
    this.#end = every(clock, INTERVAL_MS, () => void this.#look());
  }

  /** Null while PostgreSQL does not run or was not asked yet. */
  get known(): ServerFacts | null {
    return this.#isRunning() ? this.#known : null;
  }

  close(): void {
    this.#end();
    void this.#drop();
  }

  async #look(): Promise<void> {
    if (this.#isLooking || !this.#isRunning()) return;
    this.#isLooking = true;
    try {
      this.#client ??= await this.#connect();
      const { rows } = await this.#client.query<{ version: string; pending: string[] }>(
        `SELECT split_part(current_setting('server_version'), ' ', 1) AS version,
                array(SELECT name::text FROM pg_settings WHERE pending_restart ORDER BY name) AS pending`,
      );
      const row = rows[0];
      if (row !== undefined) this.#known = { version: row.version, pendingRestart: row.pending };
    } catch {
      this.#known = null;
      void this.#drop();
    } finally {
      this.#isLooking = false;
    }
  }

  async #drop(): Promise<void> {
    const client = this.#client;
    this.#client = null;
    await client?.end().catch(() => undefined);
  }
}
