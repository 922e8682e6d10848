import { createHash, randomUUID } from 'node:crypto';
import type { ShopDatabase } from '../database.ts';
import { LIMITED_CATEGORY } from '../seed/words.ts';

/** What one run of the sale sells, and to whom. */
export interface Edition {
  /** New on every run, so that no key is used twice. */
  readonly runId: string;
  readonly productId: number;
  readonly pieces: number;
  /** One account per shopper. */
  readonly accountIds: readonly number[];
  /** How many ordinary products there are, with ids from 1. */
  readonly catalogueSize: number;
}

/** Puts a new limited edition on sale, with an account for every shopper, in one synchronous commit. */
export async function createEdition(
  db: ShopDatabase,
  pieces: number,
  shoppers: number,
  seed: number,
): Promise<Edition> {
  const runId = randomUUID();
  return db.transaction(
    async (tx) => {
      const product = await tx.query<{ id: string }>({
        text: `INSERT INTO products (sku, name, category, description, price_cents, art)
               VALUES ($1, $2, $3, $4, 14900, $5) RETURNING id`,
        values: [
          `LIM-${runId}`,
          'Aurora Winter Lantern',
          LIMITED_CATEGORY,
          `A lantern for the longest night, blown and numbered by hand. Only ${pieces} of them exist, and there will be no more.`,
          `lantern-${seed % 10_000}`,
        ],
      });
      const productId = Number(product.rows[0]?.id);
      await tx.query({
        text: 'INSERT INTO inventory (product_id, stock) VALUES ($1, $2)',
        values: [productId, pieces],
      });
      await tx.query({
        text: 'INSERT INTO limited_pieces (product_id, serial) SELECT $1, serial FROM generate_series(1, $2::int) serial',
        values: [productId, pieces],
      });
      const accounts = await tx.query<{ id: string }>({
        text: `INSERT INTO accounts (email, name, password_hash)
               SELECT 'shopper-' || n || '@' || $1::text || '.example', 'Shopper ' || n, 'no password'
               FROM generate_series(1, $2::int) n RETURNING id`,
        values: [runId, shoppers],
      });
      const size = await tx.query<{ last: string | null }>({
        text: 'SELECT max(id) AS last FROM products WHERE id < 1000001',
      });
      const accountIds = accounts.rows.map((row) => Number(row.id));
      return { runId, productId, pieces, accountIds, catalogueSize: Number(size.rows[0]?.last ?? 0) };
    },
    { durability: 'sync' },
  );
}

/** The order key of a shopper's purchase: the same run, shopper and purchase give the same key. */
export function orderKey(runId: string, shopper: number, purchase: number): string {
  const hex = createHash('sha256').update(`${runId}:${shopper}:${purchase}`).digest('hex');
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-5${hex.slice(13, 16)}-a${hex.slice(17, 20)}-${hex.slice(20, 32)}`;
}
