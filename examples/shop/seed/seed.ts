import type { Queryable, ShopDatabase } from '../database.ts';
import { settle } from '../settle.ts';
import { createCatalogue, FULL_SIZE } from './catalogue.ts';
import type { Catalogue, CatalogueSize, SeedProduct, SeedReview } from './catalogue.ts';
import { CATEGORIES, LIMITED_CATEGORY } from './words.ts';

export interface SeedProgress {
  readonly done: number;
  readonly total: number;
}

export interface SeedOptions {
  /** Same seed, same catalogue. Default 2024. */
  readonly seed?: number;
  readonly size?: CatalogueSize;
  readonly onProgress?: (progress: SeedProgress) => void;
}

const PRODUCT_BATCH = 2_500;
const REVIEW_BATCH = 5_000;
/** Ids from here on belong to what people add. */
const FIRST_FREE_ID = 1_000_001;

/**
 * Fills the catalogue unless it is filled already, and returns whether there was something to do. Batches
 * commit asynchronously; one synchronous commit at the end vouches for all of them, since a follower that
 * has it has everything before it. An interrupted run, also one cut short by a failover, goes on where the
 * data ends: ids are given out in order, so that what exists is always a beginning.
 */
export async function seedCatalogue(db: ShopDatabase, options: SeedOptions = {}): Promise<boolean> {
  const { seed = 2024, size = FULL_SIZE, onProgress } = options;
  const name = `${seed}:${size.products}:${size.reviews}`;
  return settle(async () => {
    if (await isSeeded(db, name)) return false;
    const catalogue = createCatalogue(seed, size);
    const total = size.products + size.reviews;
    await seedCategories(db);
    await seedProducts(db, catalogue, (done) => onProgress?.({ done, total }));
    await seedReviews(db, catalogue, size.reviews, (done) =>
      onProgress?.({ done: size.products + done, total }),
    );
    await analyze(db);
    const isComplete = await finish(db, name, size);
    if (!isComplete) return seedCatalogue(db, options);
    return true;
  });
}

async function isSeeded(db: ShopDatabase, name: string): Promise<boolean> {
  return db.transaction(async (tx) => {
    const { rows } = await tx.query({ text: 'SELECT FROM seed_runs WHERE catalogue = $1', values: [name] });
    return rows.length > 0;
  });
}

async function seedCategories(db: Queryable): Promise<void> {
  const limited = { slug: LIMITED_CATEGORY, name: 'Limited', tagline: 'Numbered, and gone when gone' };
  const all = [...CATEGORIES, limited];
  await db.query({
    text: `INSERT INTO categories (slug, name, tagline, position)
           SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::int[]) ON CONFLICT DO NOTHING`,
    values: [
      all.map((c) => c.slug),
      all.map((c) => c.name),
      all.map((c) => c.tagline),
      all.map((_, index) => index),
    ],
    durability: 'async',
  });
}

/** The highest seeded id of a table, read where it is certain. */
async function lastSeededId(db: ShopDatabase, table: 'inventory' | 'reviews'): Promise<number> {
  const column = table === 'inventory' ? 'product_id' : 'id';
  return db.transaction(async (tx) => {
    const { rows } = await tx.query<{ last: string | null }>({
      text: `SELECT max(${column}) AS last FROM ${table} WHERE ${column} < $1`,
      values: [FIRST_FREE_ID],
    });
    return Number(rows[0]?.last ?? 0);
  });
}

async function seedProducts(
  db: ShopDatabase,
  catalogue: Catalogue,
  onDone: (done: number) => void,
): Promise<void> {
  const { products } = catalogue;
  let done = await lastSeededId(db, 'inventory');
  while (done < products.length) {
    const batch = products.slice(done, done + PRODUCT_BATCH);
    await db.transaction((tx) => insertProducts(tx, batch), { durability: 'async' });
    done += batch.length;
    onDone(done);
  }
}

async function insertProducts(tx: Queryable, batch: readonly SeedProduct[]): Promise<void> {
  await tx.query({
    text: `INSERT INTO products (id, sku, name, category, description, price_cents, art, review_count, rating_total)
           SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::text[], $6::int[], $7::text[], $8::int[], $9::int[])
           ON CONFLICT (id) DO NOTHING`,
    values: [
      batch.map((p) => p.id),
      batch.map((p) => p.sku),
      batch.map((p) => p.name),
      batch.map((p) => p.category),
      batch.map((p) => p.description),
      batch.map((p) => p.priceCents),
      batch.map((p) => p.art),
      batch.map((p) => p.reviewCount),
      batch.map((p) => p.ratingTotal),
    ],
  });
  await tx.query({
    text: `INSERT INTO inventory (product_id, stock) SELECT * FROM unnest($1::bigint[], $2::int[])
           ON CONFLICT (product_id) DO NOTHING`,
    values: [batch.map((p) => p.id), batch.map((p) => p.stock)],
  });
}

async function seedReviews(
  db: ShopDatabase,
  catalogue: Catalogue,
  count: number,
  onDone: (done: number) => void,
): Promise<void> {
  let done = await lastSeededId(db, 'reviews');
  while (done < count) {
    const batch = catalogue.reviews(done + 1, REVIEW_BATCH);
    await insertReviews(db, batch);
    done += batch.length;
    onDone(done);
  }
}

async function insertReviews(db: Queryable, batch: readonly SeedReview[]): Promise<void> {
  await db.query({
    text: `INSERT INTO reviews (id, product_id, author, rating, title, body, written_at)
           SELECT id, product_id, author, rating, title, body, now() - make_interval(days => days_ago)
           FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::smallint[], $5::text[], $6::text[], $7::int[])
             AS r(id, product_id, author, rating, title, body, days_ago)
           ON CONFLICT (id) DO NOTHING`,
    values: [
      batch.map((r) => r.id),
      batch.map((r) => r.productId),
      batch.map((r) => r.author),
      batch.map((r) => r.rating),
      batch.map((r) => r.title),
      batch.map((r) => r.body),
      batch.map((r) => r.daysAgo),
    ],
    durability: 'async',
  });
}

/** Statistics for the planner at once: autovacuum would come a minute later, after the first shoppers. */
async function analyze(db: ShopDatabase): Promise<void> {
  await db.query({ text: 'ANALYZE categories, products, inventory, reviews' });
}

/** Notes that all is there, if it is: a failover in between may have lost the last batches. */
async function finish(db: ShopDatabase, name: string, size: CatalogueSize): Promise<boolean> {
  return db.transaction(
    async (tx) => {
      const { rows } = await tx.query<{ products: number; reviews: number }>({
        text: `SELECT (SELECT count(*)::int FROM inventory WHERE product_id < $1) AS products,
                      (SELECT count(*)::int FROM reviews WHERE id < $1) AS reviews`,
        values: [FIRST_FREE_ID],
      });
      const counted = rows[0];
      if (counted === undefined || counted.products < size.products || counted.reviews < size.reviews)
        return false;
      await tx.query({
        text: 'INSERT INTO seed_runs (catalogue) VALUES ($1) ON CONFLICT DO NOTHING',
        values: [name],
      });
      return true;
    },
    { durability: 'sync' },
  );
}
