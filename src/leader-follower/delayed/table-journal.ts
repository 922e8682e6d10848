import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { replaceFile } from '../../postgres/data-folder.ts';
import type { Clock } from '../../model/clock.ts';
import type { CatalogTable } from './core/danger.ts';
import { readCatalogs } from './log-reading.ts';
import type { OpenDatabase } from './log-reading.ts';

const INTERVAL_MS = 3_000;
/** Tables that were written anew again and again; the oldest go first. */
const MAX_ENTRIES = 20_000;
const FILE = 'tables.json';

/**
 * Remembers which file of the log belonged to which table of the leader. A table that was made within the delay and is
 * gone again is in neither node's catalog, and the log names only its file.
 */
export class TableJournal {
  readonly #path: string;
  readonly #clock: Clock;
  #entries: Map<string, CatalogTable> | null = null;
  #lookedAtMs = Number.NEGATIVE_INFINITY;
  #looking: Promise<void> | null = null;

  constructor(folder: string, clock: Clock) {
    this.#clock = clock;
    this.#path = join(folder, FILE);
  }

  /** All that were ever seen, the newest last. */
  async all(): Promise<readonly CatalogTable[]> {
    return [...(await this.#load()).values()];
  }

  /** Looks at the leader's catalogs when it is time; does not wait for it, and does without where they cannot be read. */
  keep(open: OpenDatabase): void {
    if (this.#looking !== null || this.#clock.nowMs() - this.#lookedAtMs < INTERVAL_MS) return;
    this.#lookedAtMs = this.#clock.nowMs();
    this.#looking = this.#look(open)
      .catch(() => undefined)
      .finally(() => (this.#looking = null));
  }

  async #look(open: OpenDatabase): Promise<void> {
    const seen = await readCatalogs(open);
    const entries = await this.#load();
    let isNew = false;
    for (const table of seen) {
      const key = `${table.databaseOid}/${table.fileNode}`;
      isNew ||= entries.get(key)?.name !== table.name;
      entries.delete(key);
      entries.set(key, table);
    }
    for (const key of [...entries.keys()].slice(0, Math.max(0, entries.size - MAX_ENTRIES)))
      entries.delete(key);
    if (isNew) await replaceFile(this.#path, `${JSON.stringify([...entries.values()])}\n`, null);
  }

  async #load(): Promise<Map<string, CatalogTable>> {
    if (this.#entries !== null) return this.#entries;
    const text = await readFile(this.#path, 'utf8').catch(() => '[]');
    const tables = JSON.parse(text) as readonly CatalogTable[];
    return (this.#entries = new Map(
      tables.map((table) => [`${table.databaseOid}/${table.fileNode}`, table]),
    ));
  }
}
