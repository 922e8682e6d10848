import { prepared } from './database.ts';
import type { Card, CardProvider } from './card-provider.ts';
import type { Queryable, ShopWriter } from './database.ts';
import { recordPayment } from './payments.ts';

export interface CheckoutItem {
  readonly productId: number;
  readonly quantity: number;
}

export interface CheckoutRequest {
  /** Chosen by the buyer, one per purchase: the same key never buys twice. */
  readonly orderKey: string;
  readonly accountId: number;
  readonly items: readonly CheckoutItem[];
  readonly shipTo: string;
  readonly card: Card;
  /** Emptied in the same transaction. */
  readonly cartId?: string | undefined;
}

export type CheckoutResult =
  | {
      readonly kind: 'placed';
      readonly orderId: number;
      readonly totalCents: number;
      /** For capturing the payment. */
      readonly paymentReference: string;
      /** Whether an earlier attempt with the same key had placed it already. */
      readonly isRepeat: boolean;
    }
  | { readonly kind: 'sold-out'; readonly productId: number }
  | { readonly kind: 'declined'; readonly reason: string }
  | { readonly kind: 'rejected'; readonly reason: string };

/**
 * Places an order once: money is authorised first, outside of any lock; then one transaction writes order,
 * payment and items and takes the stock, and commits synchronously. When the commit's outcome is unknown,
 * call again with the same key on whoever leads then: an order that exists is answered as a repeat.
 */
export async function placeOrder(
  session: ShopWriter,
  cards: CardProvider,
  request: CheckoutRequest,
): Promise<CheckoutResult> {
  const items = request.items.toSorted((a, b) => a.productId - b.productId);
  if (items.length === 0) return { kind: 'rejected', reason: 'The cart is empty.' };
  const prices = await readPrices(session, items);
  const unknown = items.find((item) => !prices.has(item.productId));
  if (unknown !== undefined) return { kind: 'rejected', reason: `There is no product ${unknown.productId}.` };
  const totalCents = items.reduce((sum, item) => sum + (prices.get(item.productId) ?? 0) * item.quantity, 0);

  const authorization = await cards.authorize(request.orderKey, request.card, totalCents);
  if (authorization.kind === 'declined') return authorization;
  try {
    return await session.transaction(
      async (tx): Promise<CheckoutResult> => {
        const order = await insertOrder(tx, request, totalCents);
        const { reference } = authorization;
        if (order.isRepeat) return { kind: 'placed', ...order, paymentReference: reference };
        await recordPayment(tx, order.orderId, request.orderKey, authorization);
        await insertItems(tx, order.orderId, items, prices);
        if (request.cartId !== undefined) {
          await tx.query(prepared('DELETE FROM cart_items WHERE cart_id = $1', [request.cartId]));
        }
        for (const item of items) await takeStock(tx, order.orderId, item);
        return { kind: 'placed', ...order, paymentReference: reference };
      },
      { durability: 'sync' },
    );
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    await cards.release(authorization.reference);
    return error.result;
  }
}

/**
 * The order with this key when it was placed before, else null. It writes for the same reason as a repeat
 * of {@link placeOrder} does.
 */
export async function confirmOrder(
  session: ShopWriter,
  accountId: number,
  orderKey: string,
): Promise<Extract<CheckoutResult, { kind: 'placed' }> | null> {
  const { rows } = await session.query<{ id: string; total_cents: number; provider_reference: string }>({
    text: `UPDATE orders o SET attempts = attempts + 1 FROM payments p
           WHERE o.order_key = $1 AND o.account_id = $2 AND p.order_id = o.id
           RETURNING o.id, o.total_cents, p.provider_reference`,
    values: [orderKey, accountId],
    durability: 'sync',
  });
  const row = rows[0];
  if (row === undefined) return null;
  const { total_cents: totalCents, provider_reference: paymentReference } = row;
  return { kind: 'placed', orderId: Number(row.id), totalCents, paymentReference, isRepeat: true };
}

/** Rolls the transaction back with an answer for the buyer. */
class Refusal extends Error {
  readonly result: CheckoutResult;

  constructor(result: CheckoutResult) {
    super(result.kind);
    this.result = result;
  }
}

async function readPrices(db: Queryable, items: readonly CheckoutItem[]): Promise<Map<number, number>> {
  const { rows } = await db.query<{ id: string; price_cents: number }>(
    prepared('SELECT id, price_cents FROM products WHERE id = ANY ($1::bigint[])', [
      items.map((item) => item.productId),
    ]),
  );
  return new Map(rows.map((row) => [Number(row.id), row.price_cents]));
}

/**
 * A repeat writes too: its commit then waits for a follower, and so for everything before it. Answering a
 * repeat from a read alone could promise an order that only the leader holds.
 */
async function insertOrder(
  tx: Queryable,
  request: CheckoutRequest,
  totalCents: number,
): Promise<{ orderId: number; totalCents: number; isRepeat: boolean }> {
  const { rows } = await tx.query<{ id: string; account_id: string; total_cents: number; attempts: number }>(
    prepared(
      `INSERT INTO orders (order_key, account_id, total_cents, ship_to) VALUES ($1, $2, $3, $4)
           ON CONFLICT (order_key) DO UPDATE SET attempts = orders.attempts + 1
           RETURNING id, account_id, total_cents, attempts`,
      [request.orderKey, request.accountId, totalCents, request.shipTo],
    ),
  );
  const row = rows[0];
  if (row === undefined || Number(row.account_id) !== request.accountId) {
    throw new Refusal({
      kind: 'rejected',
      reason: 'This order key belongs to somebody else; choose a new one.',
    });
  }
  return { orderId: Number(row.id), totalCents: row.total_cents, isRepeat: row.attempts > 1 };
}

async function insertItems(
  tx: Queryable,
  orderId: number,
  items: readonly CheckoutItem[],
  prices: ReadonlyMap<number, number>,
): Promise<void> {
  await tx.query(
    prepared(
      `INSERT INTO order_items (order_id, product_id, quantity, unit_price_cents)
           SELECT $1, * FROM unnest($2::bigint[], $3::int[], $4::int[])`,
      [
        orderId,
        items.map((item) => item.productId),
        items.map((item) => item.quantity),
        items.map((item) => prices.get(item.productId)),
      ],
    ),
  );
}

/** Callers go through products in order of their ids: two carts with the same products cannot deadlock. */
async function takeStock(tx: Queryable, orderId: number, item: CheckoutItem): Promise<void> {
  const { productId, quantity } = item;
  const taken = await tx.query(
    prepared('UPDATE inventory SET stock = stock - $2 WHERE product_id = $1 AND stock >= $2', [
      productId,
      quantity,
    ]),
  );
  if (taken.rowCount === 0) throw new Refusal({ kind: 'sold-out', productId });
  // A CTE, because a plan may run a sub-select of the WHERE clause once a row, each time locking other pieces.
  const numbered = await tx.query(
    prepared(
      `WITH free AS MATERIALIZED (
             SELECT serial FROM limited_pieces WHERE product_id = $1 AND order_id IS NULL
              ORDER BY serial LIMIT $3 FOR UPDATE SKIP LOCKED)
           UPDATE limited_pieces p SET order_id = $2 FROM free WHERE p.product_id = $1 AND p.serial = free.serial`,
      [productId, orderId, quantity],
    ),
  );
  if (numbered.rowCount !== 0 && numbered.rowCount !== quantity) {
    throw new Error(
      `order ${orderId} took ${numbered.rowCount} pieces of product ${productId} instead of ${quantity}`,
    );
  }
}
