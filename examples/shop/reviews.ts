import { prepared } from './database.ts';
import type { Queryable, ShopWriter } from './database.ts';

export interface Review {
  readonly id: number;
  readonly author: string;
  readonly rating: number;
  readonly title: string;
  readonly body: string;
  readonly writtenAt: Date;
}

export interface ReviewPage {
  readonly reviews: readonly Review[];
  /** How many reviews gave 1 to 5 stars; index 0 is one star. */
  readonly histogram: readonly number[];
}

export interface NewReview {
  readonly productId: number;
  readonly account: { readonly id: number; readonly name: string };
  readonly rating: number;
  readonly title: string;
  readonly body: string;
}

/** The newest reviews of a product, and how its ratings are spread. */
export async function listReviews(
  db: Queryable,
  productId: number,
  limit: number,
  offset = 0,
): Promise<ReviewPage> {
  const { rows } = await db.query<{
    reviews: (Omit<Review, 'writtenAt'> & { written_at: string })[];
    counts: number[];
  }>(
    prepared(
      `SELECT
             (SELECT coalesce(json_agg(page), '[]') FROM
               (SELECT id, author, rating, title, body, written_at FROM reviews
                WHERE product_id = $1 ORDER BY written_at DESC, id DESC LIMIT $2 OFFSET $3) page) AS reviews,
             (SELECT array_agg(n ORDER BY star) FROM
               (SELECT star, count(r.id)::int AS n FROM generate_series(1, 5) star
                LEFT JOIN reviews r ON r.product_id = $1 AND r.rating = star GROUP BY star) spread) AS counts`,
      [productId, limit, offset],
    ),
  );
  const row = rows[0];
  const reviews = (row?.reviews ?? []).map(({ written_at, ...review }) => ({
    ...review,
    writtenAt: new Date(written_at),
  }));
  return { reviews, histogram: row?.counts ?? [0, 0, 0, 0, 0] };
}

/**
 * Adds a review, or replaces the one that the account wrote before, and keeps the product's rating in step.
 * Commits asynchronously: a review is worth less than the wait, and may be lost with the leader. The session
 * still reads it back. Returns whether the product exists.
 */
export async function writeReview(session: ShopWriter, review: NewReview): Promise<boolean> {
  const { productId, account, rating, title, body } = review;
  const write = async (tx: Queryable): Promise<boolean> => {
    const product = await tx.query(
      prepared('SELECT FROM products WHERE id = $1 FOR NO KEY UPDATE', [productId]),
    );
    if (product.rowCount === 0) return false;
    const before = await tx.query<{ rating: number }>(
      prepared('SELECT rating FROM reviews WHERE product_id = $1 AND account_id = $2', [
        productId,
        account.id,
      ]),
    );
    await tx.query(
      prepared(
        `INSERT INTO reviews (product_id, account_id, author, rating, title, body) VALUES ($1, $2, $3, $4, $5, $6)
             ON CONFLICT (product_id, account_id) WHERE account_id IS NOT NULL
             DO UPDATE SET rating = excluded.rating, title = excluded.title, body = excluded.body, written_at = now()`,
        [productId, account.id, account.name, rating, title, body],
      ),
    );
    const replaced = before.rows[0];
    await tx.query(
      prepared(
        'UPDATE products SET review_count = review_count + $2, rating_total = rating_total + $3 WHERE id = $1',
        [productId, replaced === undefined ? 1 : 0, rating - (replaced?.rating ?? 0)],
      ),
    );
    return true;
  };
  return session.transaction(write, { durability: 'async' });
}
