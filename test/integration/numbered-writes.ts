import pg from 'pg';
import type { TestCluster } from '../../src/testing/cluster.ts';
import { until } from './fixture.ts';

/** PostgreSQL's words for synchronous_commit. */
type Level = 'off' | 'local' | 'on' | 'remote_apply';

/** What writes go to. */
export type WriteTarget = Pick<TestCluster, 'status' | 'leader'> & {
  readonly nodes: readonly { readonly name: string; readonly dsn: string }[];
};

/** Writes numbered rows one after the other to whoever leads, and remembers what was acknowledged. */
export class Writer {
  readonly acknowledged: { readonly id: number; readonly atMs: number; readonly node: string }[] = [];
  readonly #cluster: WriteTarget;
  readonly #level: Level;
  #isStopped = false;
  #next: number;
  #done: Promise<void> = Promise.resolve();

  constructor(cluster: WriteTarget, level: Level = 'on', first = 1) {
    this.#cluster = cluster;
    this.#level = level;
    this.#next = first;
  }

  start(): void {
    this.#done = this.#run();
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    await this.#done;
  }

  /** The longest time without an acknowledged write. */
  longestGapMs(): number {
    return Math.max(
      ...this.acknowledged.slice(1).map((write, index) => write.atMs - (this.acknowledged[index]?.atMs ?? 0)),
    );
  }

  async #run(): Promise<void> {
    while (!this.#isStopped) {
      const topology = await this.#cluster.status().catch(() => null);
      const leader = topology?.nodes.find((node) => node.name === topology.leader);
      const dsn = this.#cluster.nodes.find((node) => node.name === leader?.name)?.dsn;
      if (leader === undefined || dsn === undefined) continue;
      const client = new pg.Client({
        connectionString: dsn,
        connectionTimeoutMillis: 1_000,
        query_timeout: 3_000,
      });
      client.on('error', () => undefined);
      try {
        await client.connect();
        await client.query(`SET synchronous_commit = ${this.#level}`);
        while (!this.#isStopped) {
          const id = this.#next++;
          await client.query('INSERT INTO written VALUES ($1)', [id]);
          this.acknowledged.push({ id, atMs: performance.now(), node: leader.name });
        }
      } catch {
        // The next round asks again who leads.
      } finally {
        await client.end().catch(() => undefined);
      }
    }
  }
}

/** Runs `run` on a connection of its own to whoever leads. */
export async function onLeader<T>(cluster: WriteTarget, run: (client: pg.Client) => Promise<T>): Promise<T> {
  const leader = await cluster.leader();
  const node = cluster.nodes.find((candidate) => candidate.name === leader);
  const client = new pg.Client({ connectionString: node?.dsn ?? '' });
  client.on('error', () => undefined);
  await client.connect();
  try {
    return await run(client);
  } finally {
    await client.end().catch(() => undefined);
  }
}

/** Kills whoever leads, waits for another and takes it back, `rounds` times, under writes; returns who wrote. */
export async function writeThroughDeaths(cluster: TestCluster, rounds: number): Promise<Writer> {
  await onLeader(cluster, (client) => client.query('CREATE TABLE written (id int PRIMARY KEY)'));
  const writer = new Writer(cluster);
  writer.start();
  for (let round = 0; round < rounds; round++) {
    const before = writer.acknowledged.length;
    await until('writes flow', () => writer.acknowledged.length > before + 50);
    const old = await cluster.leader();
    await cluster.kill(old);
    await until('another leads', async () => {
      const { leader } = await cluster.status();
      return leader !== null && leader !== old;
    });
    await cluster.start(old);
    await cluster.untilWhole();
  }
  await writer.stop();
  return writer;
}

/** The numbers of acknowledged rows that are not there. */
export async function missing(cluster: WriteTarget, writer: Writer): Promise<number[]> {
  // Who goes on writing meanwhile may be told of rows that were not there yet.
  const ids = writer.acknowledged.map((write) => write.id);
  const { rows } = await onLeader(cluster, (client) =>
    client.query<{ id: number }>('SELECT id FROM written'),
  );
  const found = new Set(rows.map((row) => row.id));
  return ids.filter((id) => !found.has(id));
}
