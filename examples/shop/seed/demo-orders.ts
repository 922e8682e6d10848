import type { ShopDatabase } from '../database.ts';
import { settle } from '../settle.ts';

const ORDERS = 500;

/** A customer who cannot sign in: no password has this hash. */
const CUSTOMER = `INSERT INTO accounts (email, name, password_hash)
  VALUES ('demo@shop.example', 'Demo customer', 'none') ON CONFLICT (email) DO UPDATE SET name = excluded.name RETURNING id`;

const PLACE_ORDERS = `WITH chosen AS MATERIALIZED (
  SELECT gen_random_uuid() AS key, n, p.id AS product_id, p.price_cents
  FROM generate_series(1, $2::int) AS n JOIN products AS p ON p.id = n
), placed AS (
  INSERT INTO orders (order_key, account_id, total_cents, ship_to, placed_at)
  SELECT key, $1::bigint, price_cents, '1 Example Street', now() - n * interval '7 minutes' FROM chosen
  RETURNING id, order_key, total_cents
), items AS (
  INSERT INTO order_items (order_id, product_id, quantity, unit_price_cents)
  SELECT placed.id, chosen.product_id, 1, chosen.price_cents FROM placed JOIN chosen ON chosen.key = placed.order_key
)
INSERT INTO payments (order_id, idempotency_key, amount_cents, card_brand, card_last4, provider_reference, captured_at)
SELECT id, 'demo-' || id, total_cents, 'Visa', '4242', 'demo-' || id, now() FROM placed`;

/** Orders for the button that deletes them, where there are none yet. */
export async function placeDemoOrders(db: ShopDatabase): Promise<void> {
  await settle(() =>
    db.transaction(async (tx) => {
      const { rows } = await tx.query<{ any: boolean }>({
        text: 'SELECT EXISTS (SELECT FROM orders) AS any',
      });
      if (rows[0]?.any === true) return;
      const customer = await tx.query<{ id: string }>({ text: CUSTOMER });
      await tx.query({ text: PLACE_ORDERS, values: [customer.rows[0]?.id, ORDERS] });
    }),
  );
}
