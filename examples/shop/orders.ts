import { prepared } from './database.ts';
import type { Queryable } from './database.ts';

export interface OrderItem {
  readonly productId: number;
  readonly name: string;
  readonly art: string;
  readonly quantity: number;
  readonly unitPriceCents: number;
  /** Numbers of the limited pieces that the order holds. */
  readonly serials: readonly number[];
}

export interface Order {
  readonly id: number;
  readonly orderKey: string;
  readonly totalCents: number;
  readonly shipTo: string;
  readonly placedAt: Date;
  readonly card: { readonly brand: string; readonly last4: string };
  readonly items: readonly OrderItem[];
}

interface OrderRow {
  readonly id: string;
  readonly order_key: string;
  readonly total_cents: number;
  readonly ship_to: string;
  readonly placed_at: Date;
  readonly card_brand: string;
  readonly card_last4: string;
  readonly items: readonly OrderItem[];
}

const SELECT_ORDERS = `
  SELECT o.id, o.order_key, o.total_cents, o.ship_to, o.placed_at, pay.card_brand, pay.card_last4,
    (SELECT json_agg(json_build_object('productId', i.product_id, 'name', p.name, 'art', p.art, 'quantity', i.quantity,
        'unitPriceCents', i.unit_price_cents, 'serials', coalesce(
          (SELECT json_agg(l.serial ORDER BY l.serial) FROM limited_pieces l
           WHERE l.order_id = o.id AND l.product_id = i.product_id), '[]')) ORDER BY i.product_id)
     FROM order_items i JOIN products p ON p.id = i.product_id WHERE i.order_id = o.id) AS items
  FROM orders o JOIN payments pay ON pay.order_id = o.id`;

/** An account's newest orders. Ask through the visitor's session, so that a fresh order is in it. */
export async function listOrders(db: Queryable, accountId: number, limit = 50): Promise<Order[]> {
  const { rows } = await db.query<OrderRow>(
    prepared(`${SELECT_ORDERS} WHERE o.account_id = $1 ORDER BY o.id DESC LIMIT $2`, [accountId, limit]),
  );
  return rows.map(toOrder);
}

function toOrder(row: OrderRow): Order {
  return {
    id: Number(row.id),
    orderKey: row.order_key,
    totalCents: row.total_cents,
    shipTo: row.ship_to,
    placedAt: row.placed_at,
    card: { brand: row.card_brand, last4: row.card_last4 },
    items: row.items,
  };
}
