import { Classifier } from './classifier.ts';
import type { CatalogSource } from './catalog-watch.ts';
import type { CatalogRow } from './core/catalog-names.ts';
import { CATALOG_SQL, CATALOG_STATE_SQL } from './core/catalog-sql.ts';
import { GuardedClient } from '../../wire/guarded-client.ts';
import { probeConfig } from '../cluster/known-node.ts';
import type { ResolvedOptions } from '../app/options.ts';
import type { TopologyMonitor } from '../cluster/topology-monitor.ts';

/** The catalog of a large database takes seconds at most; nothing waits for it. */
const TIMEOUT_MS = 10_000;

/** A process that has nothing else to do waits this long at most. */
const CONNECT_TIMEOUT_MS = 3_000;

/** Names are found by their schema alone, whatever the role's settings; the rest keeps the leader's work small. */
const SETTINGS_SQL = `BEGIN READ ONLY; SET LOCAL search_path TO pg_catalog; SET LOCAL jit TO off;
  SET LOCAL statement_timeout TO ${TIMEOUT_MS}`;

/**
 * Asks the leader for its catalog over a connection of its own that lives for the question only: the pool's
 * counts, events and places are the app's. It keeps no process alive.
 */
class LeaderCatalog implements CatalogSource {
  readonly #monitor: Pick<TopologyMonitor, 'leadership' | 'memberOf'>;
  readonly #options: ResolvedOptions;
  #client: GuardedClient | null = null;
  #state: string | null = null;
  #rows: readonly CatalogRow[] = [];

  constructor(monitor: Pick<TopologyMonitor, 'leadership' | 'memberOf'>, options: ResolvedOptions) {
    this.#monitor = monitor;
    this.#options = options;
  }

  async load(): Promise<readonly CatalogRow[]> {
    const { leader } = this.#monitor.leadership;
    const member = leader === null ? undefined : this.#monitor.memberOf(leader);
    if (member === undefined) throw new Error('There is no leader to ask.');
    const client = new GuardedClient({
      ...probeConfig(member, this.#options),
      application_name: 'lockstep-catalog',
      connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
      query_timeout: TIMEOUT_MS,
    });
    this.#client = client;
    client.on('error', () => undefined);
    try {
      await client.connect();
      (client as unknown as { unref(): void }).unref();
      await client.query(SETTINGS_SQL);
      const { rows } = await client.query<{ state: string }>(CATALOG_STATE_SQL);
      const state = rows[0]?.state ?? null;
      if (state === null || state !== this.#state) {
        this.#rows = (await client.query<CatalogRow>(CATALOG_SQL)).rows;
        this.#state = state;
      }
      return this.#rows;
    } finally {
      this.close();
    }
  }

  close(): void {
    const client = this.#client;
    this.#client = null;
    if (client === null) return;
    client.end().catch(() => undefined);
    client.connection.stream.destroy();
  }
}

/** A classifier that knows what the database of these servers defines. */
export function createClassifier(
  monitor: Pick<TopologyMonitor, 'leadership' | 'memberOf'>,
  options: ResolvedOptions,
): Classifier {
  return new Classifier(options.clock, new LeaderCatalog(monitor, options));
}
