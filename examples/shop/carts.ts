import type { Queryable, ShopSession } from './database.ts';

export interface CartLine {
  readonly productId: number;
  readonly name: string;
  readonly art: string;
  readonly unitPriceCents: number;
  readonly quantity: number;
  readonly stock: number;
}

export interface Cart {
  readonly lines: readonly CartLine[];
  readonly totalCents: number;
  /** Pieces over all lines. */
  readonly count: number;
}

/** The most of one product that a cart takes. */
export const MAX_QUANTITY = 20;

/** A cart that does not exist is an empty one. */
export async function readCart(db: Queryable, cartId: string | null): Promise<Cart> {
  if (cartId === null) return { lines: [], totalCents: 0, count: 0 };
  const { rows } = await db.query<{
    product_id: string;
    name: string;
    art: string;
    price_cents: number;
    quantity: number;
    stock: number;
  }>({
    text: `SELECT c.product_id, p.name, p.art, p.price_cents, c.quantity, i.stock
           FROM cart_items c JOIN products p ON p.id = c.product_id JOIN inventory i ON i.product_id = p.id
           WHERE c.cart_id = $1 ORDER BY c.added_at, c.product_id`,
    values: [cartId],
  });
  const lines = rows.map((row) => ({
    productId: Number(row.product_id),
    name: row.name,
    art: row.art,
    unitPriceCents: row.price_cents,
    quantity: row.quantity,
    stock: row.stock,
  }));
  return {
    lines,
    totalCents: lines.reduce((sum, line) => sum + line.unitPriceCents * line.quantity, 0),
    count: lines.reduce((sum, line) => sum + line.quantity, 0),
  };
}

/**
 * Puts pieces into the cart, up to {@link MAX_QUANTITY} of one product. Carts commit asynchronously: they
 * change with every click, and nothing is promised before checkout. Returns whether the product exists.
 */
export async function addToCart(
  session: ShopSession,
  cartId: string,
  productId: number,
  quantity: number,
): Promise<boolean> {
  return session.transaction(
    async (tx) => {
      const product = await tx.query({ text: 'SELECT FROM products WHERE id = $1', values: [productId] });
      if (product.rowCount === 0) return false;
      await tx.query({ text: 'INSERT INTO carts (id) VALUES ($1) ON CONFLICT DO NOTHING', values: [cartId] });
      await tx.query({
        text: `INSERT INTO cart_items (cart_id, product_id, quantity) VALUES ($1, $2, least($3::int, $4::int))
               ON CONFLICT (cart_id, product_id)
               DO UPDATE SET quantity = least(cart_items.quantity + excluded.quantity, $4::int)`,
        values: [cartId, productId, quantity, MAX_QUANTITY],
      });
      return true;
    },
    { durability: 'async' },
  );
}

/** Sets how many of a product the cart holds; 0 takes it out. */
export async function setQuantity(
  session: ShopSession,
  cartId: string,
  productId: number,
  quantity: number,
): Promise<void> {
  await session.query(
    quantity === 0
      ? {
          text: 'DELETE FROM cart_items WHERE cart_id = $1 AND product_id = $2',
          values: [cartId, productId],
          durability: 'async',
        }
      : {
          text: 'UPDATE cart_items SET quantity = $3 WHERE cart_id = $1 AND product_id = $2',
          values: [cartId, productId, Math.min(quantity, MAX_QUANTITY)],
          durability: 'async',
        },
  );
}
