import type { ShopDatabase } from '../database.ts';
import type { Edition } from './edition.ts';

/** What the database says after a sale, read on the leader. */
export interface Verdict {
  readonly sold: number;
  readonly oversold: number;
  readonly stockLeft: number;
  /** Orders that a buyer was told are placed, and that are not there with their payment and items. */
  readonly acknowledgedLost: number;
  /** Order keys, payments, numbered pieces or limited purchases that exist more than once. */
  readonly duplicates: number;
}

/** Counts what matters, from the rows alone: nothing the sale itself counted is believed. */
export async function verifySale(
  db: ShopDatabase,
  edition: Edition,
  acknowledged: readonly string[],
): Promise<Verdict> {
  return db.transaction(async (tx) => {
    const { productId, pieces, accountIds } = edition;
    const number = async (text: string, values: unknown[]): Promise<number> => {
      const { rows } = await tx.query<{ n: string | null }>({ text, values });
      return Number(rows[0]?.n ?? 0);
    };
    const sold = await number('SELECT sum(quantity) AS n FROM order_items WHERE product_id = $1', [
      productId,
    ]);
    const stockLeft = await number('SELECT stock AS n FROM inventory WHERE product_id = $1', [productId]);
    const acknowledgedLost = await number(
      `SELECT count(*) AS n FROM unnest($1::uuid[]) AS told(key)
       WHERE NOT EXISTS (
         SELECT FROM orders o JOIN payments p ON p.order_id = o.id AND p.amount_cents = o.total_cents
         JOIN order_items i ON i.order_id = o.id WHERE o.order_key = told.key)`,
      [acknowledged],
    );
    const duplicates = await number(
      `WITH mine AS (SELECT * FROM orders WHERE account_id = ANY ($2::bigint[]))
       SELECT (SELECT count(*) FROM (SELECT FROM mine GROUP BY order_key HAVING count(*) > 1) d)
            + (SELECT count(*) FROM (SELECT FROM payments p JOIN mine m ON m.id = p.order_id
                                     GROUP BY p.idempotency_key HAVING count(*) > 1) d)
            + (SELECT count(*) FROM (SELECT FROM mine m JOIN order_items i ON i.order_id = m.id AND i.product_id = $1
                                     GROUP BY m.account_id HAVING sum(i.quantity) > 1) d)
            + (SELECT count(*) FROM (SELECT FROM limited_pieces WHERE product_id = $1 AND order_id IS NOT NULL
                                     GROUP BY order_id HAVING count(*) > 1) d)
            + abs((SELECT coalesce(sum(quantity), 0) FROM order_items WHERE product_id = $1)
                - (SELECT count(*) FROM limited_pieces WHERE product_id = $1 AND order_id IS NOT NULL)) AS n`,
      [productId, accountIds],
    );
    return { sold, oversold: Math.max(0, sold - pieces), stockLeft, acknowledgedLost, duplicates };
  });
}
