import pg from 'pg';
import { runClosedLoop } from '../../closed-loop.ts';
import type { Workload } from '../../closed-loop.ts';
import { scatteredKeys, valueOf } from '../keys.ts';
import type { WorkloadOptions } from '../operations.ts';

/**
 * Puts by hand: bare `pg`, upserts batched by `unnest` to all three servers, done when two have them. No versions, hints,
 * repairs, bounds or checks. As many connections, and keys in a statement, as Lockstep has.
 */
const CONNECTIONS = 2;
const MAX_KEYS = 256;

const TABLE = `CREATE TABLE IF NOT EXISTS floor (
  key text COLLATE "C" PRIMARY KEY, value text NOT NULL, at bigint NOT NULL) WITH (fillfactor = 70)`;
const UPSERT = {
  name: 'floor',
  text: `INSERT INTO floor AS f SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[])
    ON CONFLICT (key) DO UPDATE SET value = excluded.value, at = excluded.at WHERE f.at < excluded.at`,
};

interface Put {
  readonly key: string;
  readonly value: string;
  readonly at: number;
  left: number;
  readonly done: () => void;
}

export async function createWorkload({ callers, urls }: WorkloadOptions): Promise<Workload> {
  const nodes = await Promise.all(urls.map(openNode));
  const anyKey = scatteredKeys();
  let turn = 0;
  const put = (): Promise<void> =>
    new Promise((resolve) => {
      turn += 1;
      const entry = { key: anyKey(), value: JSON.stringify(valueOf(turn)), at: turn, left: 2, done: resolve };
      for (const node of nodes) node.add(entry);
    });
  return {
    round: (durationMs) => runClosedLoop(callers, durationMs, put),
    end: async () => {
      await Promise.all(nodes.map((node) => node.end()));
    },
  };
}

async function openNode(url: string): Promise<{ add(put: Put): void; end(): Promise<void> }> {
  const clients = await Promise.all(
    Array.from({ length: CONNECTIONS }, async () => {
      const client = new pg.Client({ connectionString: url });
      await client.connect();
      return client;
    }),
  );
  await clients[0]?.query(TABLE);
  await clients[0]?.query('TRUNCATE floor');
  const idle = [...clients];
  let waiting: Put[] = [];
  let isScheduled = false;
  const pump = (): void => {
    isScheduled = false;
    while (waiting.length > 0 && idle.length > 0) {
      const batch = waiting.slice(0, MAX_KEYS);
      waiting = waiting.slice(MAX_KEYS);
      void send(idle.pop() as pg.Client, batch);
    }
  };
  const send = async (client: pg.Client, batch: readonly Put[]): Promise<void> => {
    // A statement may name a key once, and sorted keys cannot deadlock.
    const newest = new Map(batch.map((put) => [put.key, put]));
    const puts = [...newest.values()].sort((a, b) => (a.key < b.key ? -1 : 1));
    const values = [puts.map(({ key }) => key), puts.map(({ value }) => value), puts.map(({ at }) => at)];
    await client.query({ ...UPSERT, values });
    idle.push(client);
    pump();
    for (const put of batch) if (--put.left === 0) put.done();
  };
  return {
    add(put) {
      waiting.push(put);
      if (isScheduled) return;
      isScheduled = true;
      setImmediate(pump);
    },
    end: async () => {
      await Promise.all(clients.map((client) => client.end()));
    },
  };
}
