import type { ModelPostgres } from './postgres.ts';
import type { Durability, Surroundings } from './wal.ts';

/** Commits that wait for this server's disk, and those that are synchronous for `ANY k` of the names. */
export class WaitingCommits {
  readonly #server: ModelPostgres;
  readonly #world: Surroundings;
  #waiting: { readonly lsn: number; readonly durability: Durability }[] = [];

  constructor(server: ModelPostgres, world: Surroundings) {
    this.#server = server;
    this.#world = world;
  }

  add(lsn: number, durability: Durability): void {
    this.#waiting.push({ lsn, durability });
  }

  clear(): void {
    this.#waiting = [];
  }

  /** Acknowledges those whose wait is over. */
  release(): void {
    const server = this.#server;
    if (server.mode !== 'leader' && server.mode !== 'stopping') return;
    while (this.#waiting.length > 0) {
      const { lsn, durability } = this.#waiting[0]!;
      if (lsn > server.flushed) return;
      const isSync = durability === 'sync' && server.sync.active.names.length > 0;
      if (isSync && this.#countHolders(lsn) < server.sync.active.required) return this.#releaseAsync();
      this.#waiting.shift();
      if (durability === 'sync' && !isSync) this.#world.listener.onUnconfirmed(server);
      this.#world.listener.onAcknowledged(server, server.log[lsn - 1]!, isSync ? 'sync' : 'async');
    }
  }

  /** Asynchronous commits do not queue behind synchronous ones. */
  #releaseAsync(): void {
    const server = this.#server;
    const ready = this.#waiting.filter(
      ({ lsn, durability }) => durability === 'async' && lsn <= server.flushed,
    );
    this.#waiting = this.#waiting.filter((wait) => !ready.includes(wait));
    for (const { lsn } of ready) this.#world.listener.onAcknowledged(server, server.log[lsn - 1]!, 'async');
  }

  #countHolders(lsn: number): number {
    let count = 0;
    for (const name of this.#server.sync.active.names)
      if ((this.#server.flushedAt(this.#world.serverOf(name)) ?? 0) >= lsn) count++;
    return count;
  }
}
