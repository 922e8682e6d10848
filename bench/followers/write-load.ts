import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import type { TestCluster } from '../../src/testing/index.ts';

const FILLED_ROWS = 20_000;
const FILLED_BYTES = 1_000;

/** Writers on the leader, each of which begins its next commit when the one before is acknowledged by a follower, too. */
export class WriteLoad implements AsyncDisposable {
  readonly #clients: readonly pg.Client[];
  readonly #writers: readonly Promise<void>[];
  #gate: PromiseWithResolvers<void> | null = null;
  #isEnded = false;
  #written = 0;
  #failure: unknown = null;

  private constructor(clients: readonly pg.Client[]) {
    this.#clients = clients;
    this.#writers = clients.map((client) =>
      this.#write(client).catch((error: unknown) => void (this.#failure = error)),
    );
  }

  static async start(cluster: TestCluster, writers: number): Promise<WriteLoad> {
    const leader = await cluster.leader();
    const connectionString = cluster.nodes.find(({ name }) => name === leader)?.dsn;
    const clients = Array.from({ length: writers }, () => new pg.Client({ connectionString }));
    for (const client of clients) {
      client.on('error', () => undefined);
      await client.connect();
    }
    await clients[0]?.query(
      `CREATE TABLE written (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, account int NOT NULL, note text NOT NULL)`,
    );
    return new WriteLoad(clients);
  }

  /** Commits a second within so long. */
  async count(ms: number): Promise<number> {
    const untilMs = performance.now() + ms;
    return this.countUntil(() => performance.now() >= untilMs);
  }

  /** Commits a second until it is over. */
  async countUntil(isOver: () => boolean): Promise<number> {
    const [from, sinceMs] = [this.#written, performance.now()];
    while (!isOver()) {
      if (this.#failure !== null) throw this.#failure as Error;
      await delay(20);
    }
    return ((this.#written - from) * 1_000) / (performance.now() - sinceMs);
  }

  pause(): void {
    this.#gate ??= Promise.withResolvers();
  }

  resume(): void {
    this.#gate?.resolve();
    this.#gate = null;
  }

  /** Rows that do not compress, at least so many bytes of them; returns the database's size. */
  async fill(bytes: number): Promise<number> {
    const [client] = this.#clients;
    if (client === undefined) return 0;
    await client.query('CREATE TABLE filled (id bigint, text text)');
    await client.query('ALTER TABLE filled ALTER COLUMN text SET STORAGE EXTERNAL');
    for (let row = 0; row * FILLED_BYTES < bytes; row += FILLED_ROWS) {
      await client.query(
        `INSERT INTO filled SELECT n, repeat(md5(n::text), ${Math.floor(FILLED_BYTES / 32)}) FROM generate_series(${row}, ${row + FILLED_ROWS - 1}) AS n`,
      );
    }
    await client.query('CHECKPOINT').catch(() => undefined);
    const { rows } = await client.query<{ size: string }>(
      'SELECT pg_database_size(current_database()) AS size',
    );
    return Number(rows[0]?.size);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isEnded = true;
    this.resume();
    await Promise.race([Promise.all(this.#writers), delay(5_000, undefined, { ref: false })]);
    await Promise.all(this.#clients.map((client) => client.end().catch(() => undefined)));
  }

  async #write(client: pg.Client): Promise<void> {
    for (let n = 0; !this.#isEnded; n += 1) {
      if (this.#gate !== null) await this.#gate.promise;
      await client.query({
        name: 'write',
        text: 'INSERT INTO written (account, note) VALUES ($1, $2)',
        values: [
          n % 1_000,
          'a row as an app writes it, of a hundred bytes or so, with a number and some words',
        ],
      });
      this.#written += 1;
    }
  }
}
