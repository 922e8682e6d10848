import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { createCardProvider, TEST_CARD } from '../../../examples/shop/card-provider.ts';
import { buy } from '../../../examples/shop/purchase.ts';
import { createSchema } from '../../../examples/shop/schema.ts';
import { FULL_SIZE } from '../../../examples/shop/seed/catalogue.ts';
import { seedCatalogue } from '../../../examples/shop/seed/seed.ts';
import { connect } from '../../../src/index.ts';
import type { LockstepPool } from '../../../src/index.ts';

const ACCOUNTS = 1_000;
const ORDERS = 50_000;
const BUYERS = 4;
/** Buyers think for up to this long. */
const PAUSE_MS = 50;

/** The shop at its full size, with orders of the past, and people who buy and sign up until it is closed. */
export class BusyShop implements AsyncDisposable {
  /** Keys and addresses that were acknowledged. */
  readonly orders: string[] = [];
  readonly accounts: string[] = [];
  readonly #db: LockstepPool;
  readonly #people: Promise<void>[] = [];
  #isClosed = false;

  constructor(url: string) {
    this.#db = connect(url);
    this.#db.on('error', () => undefined);
  }

  async open(): Promise<void> {
    const db = this.#db;
    await createSchema(db);
    await seedCatalogue(db, { size: FULL_SIZE });
    await db.query(
      `INSERT INTO accounts (email, name, password_hash) SELECT 'a' || n || '@shop.test', 'A', 'x' FROM generate_series(1, ${ACCOUNTS}) AS n`,
    );
    await db.query(
      `INSERT INTO orders (order_key, account_id, total_cents, ship_to)
       SELECT gen_random_uuid(), 1 + n % ${ACCOUNTS}, n, 'Main Street ' || n FROM generate_series(1, ${ORDERS}) AS n`,
    );
    await db.query('INSERT INTO order_items SELECT id, 1 + id % 10000, 1, 100 FROM orders');
    await db.query(
      `INSERT INTO payments (order_id, idempotency_key, amount_cents, card_brand, card_last4, provider_reference, captured_at)
       SELECT id, 'k' || id, total_cents, 'visa', '4242', 'r' || id, now() FROM orders`,
    );
    await db.query('ANALYZE');
    for (let buyer = 1; buyer <= BUYERS; buyer += 1) this.#people.push(this.#buyAll(buyer));
    this.#people.push(this.#signUpAll());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
    await this.#db.end();
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    await Promise.all(this.#people);
  }

  /** What was acknowledged and is not there, of orders and accounts. */
  async lost(): Promise<number> {
    const [orders, accounts] = [[...this.orders], [...this.accounts]];
    const { rows } = await this.#db.transaction((tx) =>
      tx.query<{ count: string }>(
        `SELECT (SELECT count(*) FROM unnest($1::uuid[]) AS k WHERE NOT EXISTS (SELECT FROM orders WHERE order_key = k))
              + (SELECT count(*) FROM unnest($2::text[]) AS e WHERE NOT EXISTS (SELECT FROM accounts WHERE email = e)) AS count`,
        [orders, accounts],
      ),
    );
    return Number(rows[0]?.count);
  }

  async #buyAll(buyer: number): Promise<void> {
    const cards = createCardProvider({ seed: buyer });
    for (let n = 1; !this.#isClosed; n += 1) {
      const orderKey = randomUUID();
      const items = [{ productId: 1 + ((n * 37 + buyer * 101) % FULL_SIZE.products), quantity: 1 }];
      // Not the customer whose rows are deleted.
      const request = { orderKey, accountId: 100 + buyer, items, shipTo: 'Here', card: TEST_CARD };
      // While a table is away nobody can buy.
      const placed = await buy(this.#db, this.#db.session(), cards, request, { deadlineMs: 5_000 }).catch(
        () => null,
      );
      if (placed?.kind === 'placed') this.orders.push(orderKey);
      await delay(((n * 7) % 10) * (PAUSE_MS / 10));
    }
  }

  async #signUpAll(): Promise<void> {
    for (let n = 1; !this.#isClosed; n += 1) {
      const email = `later${n}@shop.test`;
      await this.#db
        .query(`INSERT INTO accounts (email, name, password_hash) VALUES ($1, 'L', 'x')`, [email])
        .then(
          () => this.accounts.push(email),
          () => undefined,
        );
      await delay(PAUSE_MS);
    }
  }
}
