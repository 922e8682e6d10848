import { execFile } from 'node:child_process';
import { open } from 'node:fs/promises';
import { availableParallelism, loadavg } from 'node:os';
import { promisify } from 'node:util';
import type pg from 'pg';
import { every } from '../../clock/every.ts';
import type { Clock } from '../../model/clock.ts';
import { SUPERUSER } from '../../postgres/settings.ts';
import { medianOf, parseSocketRoundTrips } from '../election/core/measure.ts';

const run = promisify(execFile);

const INTERVAL_MS = 10_000;
/** Of as many of the newest fsyncs the median counts. */
const KEPT_FSYNCS = 5;
const PAGE_BYTES = 8_192;

export interface NodeMeasuresOptions {
  readonly clock: Clock;
  /** Written to on the disk that is measured; made where it is missing. */
  readonly probePath: string;
  readonly postgresPort: number;
  /** A connection to the local PostgreSQL. Rejects while there is none. */
  readonly withClient: <T>(task: (client: pg.Client) => Promise<T>) => Promise<T>;
}

/** Measures now and then how fast this node's disk, processors and clients are. Costs nothing that is felt. */
export class NodeMeasures {
  readonly #options: NodeMeasuresOptions;
  readonly #end: () => void;
  readonly #fsyncsMs: number[] = [];
  #fsyncSinceMs: number | null = null;
  #clientLatencyMs: number | null = null;

  constructor(options: NodeMeasuresOptions) {
    this.#options = options;
    this.#measure();
    this.#end = every(options.clock, INTERVAL_MS, () => this.#measure());
  }

  /** Of one page; also one that has not come back yet counts, as long as it has taken. Null before the first. */
  get fsyncMs(): number | null {
    const pendingMs = this.#fsyncSinceMs === null ? 0 : this.#options.clock.nowMs() - this.#fsyncSinceMs;
    const usualMs = medianOf(this.#fsyncsMs);
    return usualMs === null ? null : Math.max(usualMs, pendingMs);
  }

  /** 0 to 1, over the last minute. */
  get cpuHeadroom(): number {
    return Math.min(1, Math.max(0, 1 - (loadavg()[0] ?? 0) / availableParallelism()));
  }

  /** The median over the clients' addresses; null where nobody is connected or the system does not tell. */
  get clientLatencyMs(): number | null {
    return this.#clientLatencyMs;
  }

  close(): void {
    this.#end();
  }

  #measure(): void {
    if (this.#fsyncSinceMs === null) void this.#timeFsync().catch(() => undefined);
    void this.#askForClients().then(
      (latencyMs) => (this.#clientLatencyMs = latencyMs),
      () => (this.#clientLatencyMs = null),
    );
  }

  async #timeFsync(): Promise<void> {
    const file = await open(this.#options.probePath, 'w', 0o600);
    try {
      // The file's first write also changes its folder and its size: only the second is like a commit's.
      await file.write(Buffer.alloc(PAGE_BYTES, 1), 0, PAGE_BYTES, 0);
      await file.sync();
      this.#fsyncSinceMs = this.#options.clock.nowMs();
      await file.write(Buffer.alloc(PAGE_BYTES, 2), 0, PAGE_BYTES, 0);
      await file.datasync();
      this.#fsyncsMs.push(this.#options.clock.nowMs() - this.#fsyncSinceMs);
      if (this.#fsyncsMs.length > KEPT_FSYNCS) this.#fsyncsMs.shift();
    } finally {
      this.#fsyncSinceMs = null;
      await file.close();
    }
  }

  /** The kernel knows the round trip of each connection (ss, of iproute2); PostgreSQL knows which are clients. */
  async #askForClients(): Promise<number | null> {
    if (process.platform !== 'linux') return null;
    const clients = await this.#options.withClient(async (client) => {
      const { rows } = await client.query<{ address: string; port: number }>(
        `SELECT host(client_addr) AS address, client_port AS port FROM pg_stat_activity
          WHERE backend_type = 'client backend' AND client_addr IS NOT NULL AND usename <> $1`,
        [SUPERUSER],
      );
      return rows;
    });
    if (clients.length === 0) return null;
    const filter = ['state', 'established', 'sport', '=', `:${this.#options.postgresPort}`];
    const { stdout } = await run('ss', ['-tinH', ...filter], { timeout: 2_000, maxBuffer: 16_000_000 });
    const roundTrips = parseSocketRoundTrips(stdout);
    const nearest = new Map<string, number>();
    for (const { address, port } of clients) {
      const ms = roundTrips.get(`${address}:${port}`);
      if (ms !== undefined) nearest.set(address, Math.min(ms, nearest.get(address) ?? ms));
    }
    return medianOf([...nearest.values()]);
  }
}
