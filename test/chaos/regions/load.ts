import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';

/** What the chaos of regions writes to. */
export const REGIONS_SCHEMA = `
CREATE TABLE simple (id int PRIMARY KEY, a text, b text);
CREATE TABLE merged (id int PRIMARY KEY, a text, b text, n int NOT NULL DEFAULT 0);
ALTER TABLE merged REPLICA IDENTITY FULL;
CREATE TABLE people (id int PRIMARY KEY, email text UNIQUE, note text);
CREATE TABLE papers (id int PRIMARY KEY, body text, note text);
ALTER TABLE papers REPLICA IDENTITY FULL;
ALTER TABLE papers ALTER body SET STORAGE EXTERNAL;
CREATE TABLE cleared (id int PRIMARY KEY, v text);
CREATE TABLE counted (id int PRIMARY KEY, n bigint NOT NULL);
ALTER TABLE counted REPLICA IDENTITY FULL;
CREATE TABLE history (id uuid PRIMARY KEY, by int NOT NULL, writer int NOT NULL);
CREATE TABLE orders (id int PRIMARY KEY, note text);
ALTER TABLE orders REPLICA IDENTITY FULL;
CREATE TABLE items (id int PRIMARY KEY, order_id int NOT NULL REFERENCES orders, note text);
CREATE TABLE albums (id int PRIMARY KEY, note text);
CREATE TABLE photos (id int PRIMARY KEY, album_id int NOT NULL REFERENCES albums ON DELETE CASCADE);
CREATE TABLE carts (id int PRIMARY KEY, items text[] NOT NULL, note text NOT NULL);
ALTER TABLE carts REPLICA IDENTITY FULL;
INSERT INTO counted SELECT g, 0 FROM generate_series(1, 20) g;
INSERT INTO carts SELECT g, '{}', 'new' FROM generate_series(1, 40) g;
`;

const KEYS = 100;
/** A value that is taken, a parent that is missing or needed, a deadlock: what an app meets as well. */
const EXPECTED = new Set(['23505', '23503', '40P01', '40001']);

/** One region's writer, which goes on whatever happens. */
export class RegionWriter {
  readonly #url: string;
  readonly #number: number;
  readonly #random: () => number;
  readonly acknowledged: string[] = [];
  /** What was put into carts, each a word of its own. */
  readonly inCarts: string[] = [];
  writes = 0;
  refused = 0;
  #isStopped = false;
  #running: Promise<void> = Promise.resolve();

  constructor(url: string, number: number, random: () => number) {
    this.#url = url;
    this.#number = number;
    this.#random = random;
  }

  start(): void {
    this.#running = this.#run();
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    await this.#running;
  }

  async #run(): Promise<void> {
    while (!this.#isStopped) {
      const client = new pg.Client({ connectionString: this.#url, connectionTimeoutMillis: 2_000 });
      client.on('error', () => undefined);
      try {
        await client.connect();
        while (!this.#isStopped) await this.#write(client);
      } catch {
        await delay(50);
      } finally {
        await client.end().catch(() => undefined);
      }
    }
  }

  async #write(client: pg.Client): Promise<void> {
    const below = (limit: number): number => Math.floor(this.#random() * limit);
    const text = `${this.#number}-${this.writes}`;
    const id = randomUUID();
    const key = below(KEYS);
    const by = below(9) - 4;
    const kinds: readonly [number, string, unknown[]][] = [
      [
        3,
        `INSERT INTO simple VALUES ($1, $2, $2) ON CONFLICT (id) DO UPDATE SET a = excluded.a`,
        [key, text],
      ],
      [2, 'UPDATE simple SET b = $2 WHERE id = $1', [key, text]],
      [2, 'DELETE FROM simple WHERE id = $1', [key]],
      [0.5, 'UPDATE simple SET id = $2 WHERE id = $1', [key, below(KEYS)]],
      [
        3,
        `INSERT INTO merged VALUES ($1, $2, $2, 1) ON CONFLICT (id) DO UPDATE SET a = excluded.a`,
        [key, text],
      ],
      [3, 'UPDATE merged SET b = $2, n = n + $3 WHERE id = $1', [key, text, by]],
      [1, 'DELETE FROM merged WHERE id = $1', [key]],
      [
        2,
        `INSERT INTO people VALUES ($1, $2, $3) ON CONFLICT (id) DO UPDATE SET email = excluded.email`,
        [below(30), `mail${below(15)}`, text],
      ],
      [1, 'UPDATE people SET note = $2 WHERE id = $1', [below(30), text]],
      [1, 'DELETE FROM people WHERE id = $1', [below(30)]],
      [
        1,
        `INSERT INTO papers VALUES ($1, repeat($2, 1000), $2) ON CONFLICT (id) DO UPDATE SET note = excluded.note`,
        [below(20), text],
      ],
      [1, 'INSERT INTO cleared VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET v = excluded.v', [key, text]],
      [0.02, 'TRUNCATE cleared', []],
      [1, 'INSERT INTO orders VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET note = $2', [below(20), text]],
      [
        1.5,
        'INSERT INTO items VALUES ($1, $2, $3) ON CONFLICT (id) DO UPDATE SET order_id = $2',
        [below(60), below(20), text],
      ],
      [1, 'DELETE FROM items WHERE id = $1', [below(60)]],
      [1, 'DELETE FROM orders WHERE id = $1', [below(20)]],
      [1, 'INSERT INTO albums VALUES ($1, $2) ON CONFLICT DO NOTHING', [below(20), text]],
      [
        1.5,
        'INSERT INTO photos VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET album_id = $2',
        [below(60), below(20)],
      ],
      [0.5, 'DELETE FROM albums WHERE id = $1', [below(20)]],
      [1, 'UPDATE carts SET note = $2 WHERE id = $1', [1 + below(40), text]],
      [0.5, 'UPDATE carts SET items = items || $2::text WHERE id = $1', [1 + below(40), text]],
      [
        4,
        `WITH c AS (UPDATE counted SET n = n + $2 WHERE id = $1 RETURNING id)
         INSERT INTO history SELECT $3::uuid, $2, $4 FROM c`,
        [1 + below(20), by, id, this.#number],
      ],
    ];
    let rest = this.#random() * kinds.reduce((sum, [weight]) => sum + weight, 0);
    const index = kinds.findIndex(([weight]) => (rest -= weight) <= 0);
    const [, statement = '', values = []] = kinds[index] ?? [];
    try {
      await client.query(statement, values);
      this.writes++;
      if (index === kinds.length - 1) this.acknowledged.push(id);
      if (index === kinds.length - 2) this.inCarts.push(text);
    } catch (error) {
      if (!EXPECTED.has((error as pg.DatabaseError).code ?? '')) throw error;
      this.refused++;
    }
    await delay(2);
  }
}
