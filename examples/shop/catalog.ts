import { prepared } from './database.ts';
import type { Queryable } from './database.ts';

export interface ProductSummary {
  readonly id: number;
  readonly sku: string;
  readonly name: string;
  readonly category: string;
  readonly priceCents: number;
  readonly art: string;
  readonly reviewCount: number;
  /** Mean of all ratings, null while there is none. */
  readonly rating: number | null;
}

export interface Product extends ProductSummary {
  readonly description: string;
  readonly stock: number;
  /** How many numbered pieces exist, 0 when it is not a limited edition. */
  readonly pieces: number;
}

export interface Category {
  readonly slug: string;
  readonly name: string;
  readonly tagline: string;
  readonly productCount: number;
}

export const SORTS = ['popular', 'rating', 'price-asc', 'price-desc', 'newest'] as const;
export type Sort = (typeof SORTS)[number];

export interface ListRequest {
  readonly search?: string | undefined;
  readonly category?: string | undefined;
  readonly sort?: Sort | undefined;
  /** From 1. */
  readonly page?: number | undefined;
  readonly pageSize?: number | undefined;
}

export interface ProductPage {
  readonly products: readonly ProductSummary[];
  readonly total: number;
  readonly page: number;
  readonly pageCount: number;
}

interface ProductRow {
  readonly id: string;
  readonly sku: string;
  readonly name: string;
  readonly category: string;
  readonly price_cents: number;
  readonly art: string;
  readonly review_count: number;
  readonly rating_total: number;
}

const COLUMNS = 'p.id, p.sku, p.name, p.category, p.price_cents, p.art, p.review_count, p.rating_total';

const ORDER: Readonly<Record<Sort, string>> = {
  popular: 'p.review_count DESC, p.id',
  rating: 'p.rating_score DESC, p.id',
  'price-asc': 'p.price_cents, p.id',
  'price-desc': 'p.price_cents DESC, p.id DESC',
  newest: 'p.id DESC',
};

/** One page of products, with the number of all that match. A page past the end is empty. */
export async function listProducts(db: Queryable, request: ListRequest): Promise<ProductPage> {
  const { category, sort = 'popular', page = 1, pageSize = 24 } = request;
  const search = toSearchQuery(request.search ?? '');
  const values: unknown[] = [];
  const conditions: string[] = [];
  if (category !== undefined) conditions.push(`p.category = $${values.push(category)}`);
  if (search !== null) conditions.push(`p.search @@ to_tsquery('english', $${values.push(search)})`);
  const where = conditions.length > 0 ? `WHERE ${conditions.join(' AND ')}` : '';
  const limit = `LIMIT $${values.push(pageSize)} OFFSET $${values.push((page - 1) * pageSize)}`;
  const { rows } = await db.query<{ total: string; products: ProductRow[] }>(
    prepared(
      `SELECT (SELECT count(*) FROM products p ${where}) AS total,
             (SELECT coalesce(json_agg(page), '[]') FROM
               (SELECT ${COLUMNS} FROM products p ${where} ORDER BY ${ORDER[sort]} ${limit}) page) AS products`,
      values,
    ),
  );
  const row = rows[0];
  const total = Number(row?.total ?? 0);
  return {
    products: (row?.products ?? []).map(toSummary),
    total,
    page,
    pageCount: Math.max(1, Math.ceil(total / pageSize)),
  };
}

export async function findProduct(db: Queryable, id: number): Promise<Product | null> {
  const { rows } = await db.query<ProductRow & { description: string; stock: number | null; pieces: number }>(
    prepared(
      `SELECT ${COLUMNS}, p.description, i.stock,
             (SELECT count(*)::int FROM limited_pieces l WHERE l.product_id = p.id) AS pieces
           FROM products p LEFT JOIN inventory i ON i.product_id = p.id WHERE p.id = $1`,
      [id],
    ),
  );
  const row = rows[0];
  if (row === undefined) return null;
  return { ...toSummary(row), description: row.description, stock: row.stock ?? 0, pieces: row.pieces };
}

/** Well-reviewed products of the same category, for the foot of a product's page. */
export async function listSimilar(db: Queryable, product: ProductSummary): Promise<ProductSummary[]> {
  const { rows } = await db.query<ProductRow>(
    prepared(
      `SELECT ${COLUMNS} FROM products p WHERE p.category = $1 AND p.id <> $2
             AND p.art LIKE $3 ORDER BY p.review_count DESC, p.id LIMIT 4`,
      [product.category, product.id, `${product.art.slice(0, product.art.lastIndexOf('-'))}-%`],
    ),
  );
  return rows.map(toSummary);
}

export async function listCategories(db: Queryable): Promise<Category[]> {
  const { rows } = await db.query<{ slug: string; name: string; tagline: string; product_count: number }>({
    text: `SELECT c.slug, c.name, c.tagline, coalesce(p.n, 0)::int AS product_count
           FROM categories c
           LEFT JOIN (SELECT category, count(*) AS n FROM products GROUP BY category) p ON p.category = c.slug
           ORDER BY c.position`,
  });
  return rows.map(({ slug, name, tagline, product_count }) => ({
    slug,
    name,
    tagline,
    productCount: product_count,
  }));
}

/** Every word must match, the last one also as a beginning; null when there is nothing to search for. */
export function toSearchQuery(text: string): string | null {
  const words = text.normalize('NFKC').match(/[\p{L}\p{N}]+/gu) ?? [];
  if (words.length === 0) return null;
  return words
    .slice(0, 8)
    .map((word) => `${word}:*`)
    .join(' & ');
}

function toSummary(row: ProductRow): ProductSummary {
  return {
    id: Number(row.id),
    sku: row.sku,
    name: row.name,
    category: row.category,
    priceCents: row.price_cents,
    art: row.art,
    reviewCount: row.review_count,
    rating: row.review_count > 0 ? row.rating_total / row.review_count : null,
  };
}
