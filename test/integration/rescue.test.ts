import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createSchema } from '../../examples/shop/schema.ts';
import { seedCatalogue } from '../../examples/shop/seed/seed.ts';
import type { RescueList } from '../../src/leader-follower/delayed/rescue-log.ts';
import { connect } from '../../src/index.ts';
import { findPostgres } from '../../src/postgres/binaries.ts';
import { startTestCluster } from '../../src/testing/index.ts';
import type { TestCluster } from '../../src/testing/index.ts';
import { until } from './fixture.ts';

const run = promisify(execFile);
const main = join(import.meta.dirname, '../../src/cli/main.ts');
const binaries = await findPostgres();
const ORDERS = 1_500;

let cluster: TestCluster;

interface Comparison {
  readonly missing: number;
  readonly changed: number;
  readonly touchedSince: number;
  readonly others: number;
}

interface Restored {
  readonly created: readonly string[];
  readonly tables: readonly {
    readonly table: string;
    readonly inserted: number;
    readonly updated: number;
    readonly kept: readonly string[];
    readonly keptCount: number;
  }[];
}

async function rescue<T>(...args: readonly string[]): Promise<T> {
  const { stdout } = await run(
    process.execPath,
    [main, 'rescue', ...args, '--json', '--state', cluster.folder],
    {
      maxBuffer: 64_000_000,
    },
  );
  return JSON.parse(stdout) as T;
}

/** What the command says when it refuses. */
async function refusal(...args: readonly string[]): Promise<string> {
  return rescue(...args).then(
    () => {
      throw new Error(`rescue ${args.join(' ')} did not refuse`);
    },
    (error: unknown) => (error as { stderr: string }).stderr.trim(),
  );
}

async function onLeader<T>(task: (client: pg.Client) => Promise<T>): Promise<T> {
  const leader = await cluster.leader();
  const client = new pg.Client({ connectionString: cluster.nodes.find(({ name }) => name === leader)?.dsn });
  await client.connect();
  try {
    return await task(client);
  } finally {
    await client.end();
  }
}

function query<Row extends pg.QueryResultRow>(text: string): Promise<readonly Row[]> {
  return onLeader(async (client) => (await client.query<Row>(text)).rows);
}

/** Every row of a table as text, by its key. */
async function rowsOf(table: string): Promise<ReadonlyMap<string, string>> {
  const rows = await query<{ key: string; row: string }>(
    `SELECT to_jsonb(t) ->> 'id' AS key, t::text AS row FROM ${table} AS t`,
  );
  return new Map(rows.map(({ key, row }) => [key, row]));
}

/** The definitions of everything, as pg_dump writes them. */
async function schema(): Promise<string> {
  const leader = await cluster.leader();
  const dsn = cluster.nodes.find(({ name }) => name === leader)?.dsn ?? '';
  const { stdout } = await run(join(binaries.binDir, 'pg_dump'), ['--schema-only', dsn], {
    maxBuffer: 64_000_000,
  });
  return stdout
    .split('\n')
    .filter((line) => !/^\\(un)?restrict/.test(line))
    .join('\n');
}

/** Runs one statement, and tells which transaction it was. */
async function mistake(text: string): Promise<number> {
  return onLeader(async (client) => {
    await client.query('BEGIN');
    const { rows } = await client.query<{ xid: string }>('SELECT pg_current_xact_id()::text AS xid');
    await client.query(text);
    await client.query('COMMIT');
    return Number(rows[0]?.xid);
  });
}

/** A load that its session reports only after an ANALYZE counts twice: no statistics know how many rows there are. */
async function loadProductsThatCountTwice(): Promise<void> {
  await onLeader(async (loading) => {
    await loading.query('SELECT pg_stat_force_next_flush()');
    await loading.query(
      `INSERT INTO products (sku, name, category, description, price_cents, art)
       SELECT 'twice' || n, 'Twice', (SELECT min(slug) FROM categories), 'd', n + 1, 'a' FROM generate_series(1, 400) AS n`,
    );
    await query('ANALYZE products');
    await loading.query('SELECT pg_stat_force_next_flush()');
    await loading.query('SELECT 1');
  });
}

/** At once: a list has what had been written when it was asked for. */
async function listed(xid: number): Promise<RescueList['transactions'][number]> {
  const { transactions, gap } = await rescue<RescueList>('list', '--since', '10m');
  const found = transactions.find((transaction) => transaction.xid === xid);
  if (found === undefined)
    throw new Error(`transaction ${xid} is not listed; missing: ${JSON.stringify(gap)}`);
  return found;
}

/** It looks every few seconds: a table that was made and dropped in between has no name for it. */
async function knowsTables(): Promise<boolean> {
  const { nodes } = await cluster.status();
  const name = nodes.find(({ kind }) => kind === 'delayed')?.name ?? '';
  const text = await readFile(join(cluster.folder, 'nodes', name, 'tables.json'), 'utf8').catch(() => '[]');
  const tables = JSON.parse(text) as readonly { readonly name: string }[];
  return ['orders', 'products', 'limited_pieces'].every((table) => tables.some(({ name }) => name === table));
}

async function whenFollowing(name?: string): Promise<void> {
  await until(
    `the delayed node ${name ?? ''} follows`,
    async () => {
      const { nodes } = await cluster.status();
      const delayed = nodes.find((node) =>
        name === undefined ? node.kind === 'delayed' : node.name === name,
      );
      return delayed?.role === 'follower' && delayed.state === 'running' && delayed.detail === null;
    },
    90_000,
  );
}

describe.skipIf(binaries.pgWaldump === null)('a mistake is undone while the shop is open', () => {
  const acknowledged: number[] = [];
  let isWriting = true;
  let writing: Promise<void>;

  beforeAll(async () => {
    cluster = await startTestCluster({ delayed: '10min' });
    const db = connect(cluster.url);
    db.on('error', () => undefined);
    await createSchema(db);
    await seedCatalogue(db, { size: { products: 120, reviews: 600 } });
    await db.query(
      `INSERT INTO accounts (email, name, password_hash) SELECT 'a' || n || '@shop.test', 'A', 'x' FROM generate_series(1, 50) AS n`,
    );
    await db.query(
      `INSERT INTO orders (order_key, account_id, total_cents, ship_to)
       SELECT gen_random_uuid(), 1 + n % 50, n, 'Main Street ' || n FROM generate_series(1, ${ORDERS}) AS n`,
    );
    await db.query(
      'INSERT INTO order_items SELECT id, 1 + id % 100, 1, 100 FROM orders; GRANT SELECT ON orders TO pg_monitor',
    );
    await db.query(
      `INSERT INTO payments (order_id, idempotency_key, amount_cents, card_brand, card_last4, provider_reference)
       SELECT id, 'k' || id, total_cents, 'visa', '4242', 'r' || id FROM orders`,
    );
    await db.query(
      `CREATE VIEW big_orders AS SELECT id, total_cents FROM orders WHERE total_cents > 1000;
       COMMENT ON COLUMN orders.total_cents IS 'in cents';
       CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
       CREATE TRIGGER orders_note BEFORE UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION note()`,
    );
    await until('the delayed node knows the tables by name', knowsTables);
    writing = (async () => {
      for (let n = 0; isWriting; n += 1) {
        const email = `later${n}@shop.test`;
        await db
          .query(`INSERT INTO accounts (email, name, password_hash) VALUES ($1, 'L', 'x')`, [email])
          // What a failover leaves in doubt counts for nothing.
          .then(
            () => acknowledged.push(n),
            () => undefined,
          );
      }
      await db.end();
    })();
  }, 180_000);

  afterAll(async () => {
    isWriting = false;
    await writing;
    await cluster?.[Symbol.asyncDispose]();
  }, 60_000);

  it('DROP TABLE orders CASCADE: rows, definitions and what hung on it come back', async () => {
    const [before, definitions] = [await rowsOf('orders'), await schema()];
    const { nodes } = await cluster.status();
    expect(nodes.find(({ kind }) => kind === 'delayed')).toMatchObject({ sync: false, delayMs: 600_000 });

    const xid = await mistake('DROP TABLE orders CASCADE');
    const writtenBefore = acknowledged.length;
    expect((await listed(xid)).dangers).toEqual([{ kind: 'drop', text: 'drops orders' }]);
    expect(await refusal('diff', 'orders')).toMatch(/No rescue is open on n4/);
    expect(await refusal('open', '--before', '4000000000')).toMatch(/no committed transaction 4000000000/);

    await rescue('open', '--before', String(xid));
    for (const words of [
      ['node', 'remove', 'n4'],
      ['node', 'reclone', 'n4'],
      ['restart', 'n4'],
    ]) {
      await expect(run(process.execPath, [main, ...words, '--state', cluster.folder])).rejects.toMatchObject({
        stderr: expect.stringContaining('Close the rescue on n4 first'),
      });
    }
    expect(await rescue('browse')).toMatchObject({
      psql: expect.stringContaining('user=lockstep_rescue'),
      tables: expect.arrayContaining([{ table: 'orders', past: ORDERS, present: null }]),
    });
    expect(await rescue('diff', 'orders')).toMatchObject([{ isDropped: true, missing: ORDERS, changed: 0 }]);
    expect(await refusal('restore', 'nothing', '--yes')).toMatch(/There was no table nothing/);
    const restored = await rescue<Restored>('restore', 'orders', '--keep-newer', '--yes');
    expect(restored.tables).toMatchObject([{ table: 'orders', inserted: ORDERS, keptCount: 0 }]);

    expect(await rowsOf('orders')).toEqual(before);
    expect(await schema()).toBe(definitions);
    // Numbers go on behind those that were given.
    const [next] = await query<{ id: string }>(
      `INSERT INTO orders (order_key, account_id, total_cents, ship_to) VALUES (gen_random_uuid(), 1, 1, 'x') RETURNING id::text`,
    );
    expect(Number(next?.id)).toBeGreaterThan(ORDERS);
    expect(acknowledged.length).toBeGreaterThan(writtenBefore);
    await rescue('close');
    const soon = await mistake('CREATE TABLE made_at_once (id int)');
    await rescue('open', '--before', String(soon));
    await rescue('close');
    await query('DROP TABLE made_at_once');
    await whenFollowing();
  }, 180_000);

  it('UPDATE without WHERE: what was written since stays, the rest goes back', async () => {
    await loadProductsThatCountTwice();
    const before = await rowsOf('products');
    // As an order does whose item points at a product: the row then names more than one transaction.
    const xid = await onLeader(async (buyer) => {
      await buyer.query('BEGIN; SELECT FROM products WHERE id IN (5, 9) FOR KEY SHARE');
      const made = await mistake('UPDATE products SET price_cents = 1');
      await buyer.query('COMMIT');
      return made;
    });
    expect((await listed(xid)).dangers).toEqual([
      { kind: 'every-row', text: 'updates every row of products' },
    ]);
    await query(`UPDATE products SET price_cents = 777 WHERE id = 5`);
    await query(`UPDATE accounts SET name = 'changed since' WHERE id = 3`);
    await rescue('open', '--before', String(xid));
    const [products, accounts] = await rescue<readonly Comparison[]>('diff', 'products', 'accounts');
    expect(products).toMatchObject({ missing: 0, changed: before.size - 1, touchedSince: 1 });
    // Not the mistake's doing.
    expect(accounts).toMatchObject({ missing: 0, changed: 0, touchedSince: 0, others: 1 });
    expect(await refusal('restore', 'products', '--yes')).toMatch(/say --keep-newer .* or --overwrite-newer/);
    const restored = await rescue<Restored>('restore', 'products', '--keep-newer', '--yes');
    expect(restored.tables).toMatchObject([{ updated: before.size - 1, kept: ['(5)'], keptCount: 1 }]);
    const after = await rowsOf('products');
    expect([...after].filter(([id, row]) => row !== before.get(id)).map(([id]) => id)).toEqual(['5']);
    expect(await query(`SELECT price_cents FROM products WHERE id = 5`)).toEqual([{ price_cents: 777 }]);
    expect(await query(`SELECT name FROM accounts WHERE id = 3`)).toEqual([{ name: 'changed since' }]);
    await rescue('close');
    await whenFollowing();
  }, 180_000);

  it("DELETE of one customer's rows, with what hung on them", async () => {
    const before = await rowsOf('orders');
    const itemsBefore = await query('SELECT * FROM order_items ORDER BY order_id');
    const xid = await mistake(
      'DELETE FROM payments WHERE order_id IN (SELECT id FROM orders WHERE account_id = 7); DELETE FROM orders WHERE account_id = 7',
    );
    expect(await listed(xid)).toMatchObject({
      dangers: [],
      tables: expect.arrayContaining([expect.objectContaining({ table: 'orders', deleted: ORDERS / 50 })]),
    });
    await query('DELETE FROM payments WHERE order_id = 9');
    await rescue('open', '--before', String(xid));
    expect(await refusal('restore', 'order_items', '--yes')).toMatch(
      /order_items would point at rows of orders that are not there/,
    );
    for (const [where, said] of [
      ['custmer_id = 7', 'column "custmer_id" does not exist'],
      ['id = 6 OR', 'syntax error at or near ")"'],
      ["repeat('x', 2000000000) = ''", 'requested length too large'],
      ["ship_to::int = 7 AND id = 'x'", 'invalid input syntax for type bigint: "x"'],
    ] as const)
      expect(await refusal('restore', 'orders', '--where', where, '--yes')).toBe(
        `lockstep: Correct --where, of which PostgreSQL says: ${said}. Nothing was changed.`,
      );
    const one = await rescue<Restored>('restore', 'orders', '--where', 'id = 6', '--yes');
    expect(one.tables).toMatchObject([{ inserted: 1 }]);
    const all = await rescue<Restored>('restore', '--all', '--yes');
    expect(all.tables.map(({ table, inserted }) => [table, inserted])).toEqual([
      ['order_items', ORDERS / 50],
      ['orders', ORDERS / 50 - 1],
      ['payments', ORDERS / 50],
    ]);
    expect(await rowsOf('orders')).toEqual(before);
    expect(await query('SELECT * FROM order_items ORDER BY order_id')).toEqual(itemsBefore);
    // Somebody else's deletion since is none of the mistake's.
    expect(await query('SELECT id FROM payments WHERE order_id = 9')).toEqual([]);
    await rescue('close');
    await whenFollowing();
  }, 180_000);

  it('TRUNCATE, after a failover, brought back to the new leader', async () => {
    const before = await rowsOf('reviews');
    const xid = await mistake('TRUNCATE reviews RESTART IDENTITY');
    expect((await listed(xid)).dangers).toEqual([{ kind: 'truncate', text: 'truncates reviews' }]);
    const [added] = await query<{ id: string }>(
      `INSERT INTO reviews (id, product_id, author, rating, title, body) VALUES (2000000, 1, 'me', 5, 't', 'b') RETURNING id::text`,
    );
    const leader = await cluster.leader();
    await cluster.kill(leader);
    await until(
      'another leads',
      async () => ![null, leader].includes((await cluster.status()).leader),
      30_000,
    );
    await cluster.start(leader);
    await rescue('open', '--before', String(xid));
    const restored = await rescue<Restored>('restore', 'reviews', '--keep-newer', '--yes');
    expect(restored.tables).toMatchObject([{ inserted: before.size }]);
    const after = await rowsOf('reviews');
    expect(after.get(added?.id ?? '')).toBeDefined();
    expect(new Map([...after].filter(([id]) => id !== added?.id))).toEqual(before);
    await rescue('close');
    await whenFollowing();
    await cluster.untilWhole(90_000);
    // The delayed node never led, and nothing that was acknowledged is gone.
    const written = [...acknowledged];
    const kept = new Set(
      (await query<{ n: number }>(`SELECT substring(email FROM 'later(\\d+)@')::int AS n FROM accounts`)).map(
        ({ n }) => n,
      ),
    );
    expect(written.filter((n) => !kept.has(n))).toEqual([]);
  }, 240_000);

  it('refuses what is too late, and says which of several delayed nodes it could be', async () => {
    await cluster.addNode('n9', { delay: '1s' });
    // Else it might be copied after the mistake, of which its log would have nothing then.
    await whenFollowing('n9');
    const xid = await mistake('DELETE FROM payments WHERE order_id IN (11, 12)');
    await until(
      'the mistake is replayed',
      async () => {
        const { transactions } = await rescue<RescueList>('list', '--since', '10m', '--node', 'n9');
        return transactions.find((transaction) => transaction.xid === xid)?.isReplayed === true;
      },
      60_000,
    );
    expect(await refusal('open', '--before', String(xid), '--node', 'n9')).toMatch(
      /has been replayed on n9 already, which stays 1s behind.*Nothing was changed/,
    );
    expect(await rescue('status', '--node', 'n9')).toMatchObject({ phase: 'idle', target: null });
    expect(await refusal('status')).toMatch(
      /several delayed nodes; say which with --node: n4 \(10min\), n9 \(1s\)/,
    );
    expect(await refusal('status', '--node', 'n1')).toMatch(/n1 is not delayed/);
  }, 120_000);
});
