import { LockstepError } from '../../src/index.ts';
import type { AddOperation, CartCollection } from '../../src/leaderless/index.ts';
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

/** Where carts are kept. */
export interface Carts {
  /** A cart that does not exist is an empty one. */
  read(session: Queryable, cartId: string | null): Promise<Cart>;
  /** Puts pieces into the cart, up to {@link MAX_QUANTITY} of one product. Returns whether the product exists. */
  add(session: ShopSession, cartId: string, productId: number, quantity: number): Promise<boolean>;
  /** Sets how many of a product the cart holds; 0 takes it out. */
  set(session: ShopSession, cartId: string, productId: number, quantity: number): Promise<void>;
  /** Takes out what was ordered. Carts in the shop's own database are emptied in the order's transaction. */
  takeOrdered(
    cartId: string,
    items: readonly { readonly productId: number; readonly quantity: number }[],
  ): Promise<void>;
}

interface ProductRow {
  readonly product_id: string;
  readonly name: string;
  readonly art: string;
  readonly price_cents: number;
  readonly quantity: number;
  readonly stock: number;
}

function toCart(rows: readonly ProductRow[]): Cart {
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
 * Carts in the shop's own database. They commit asynchronously: they change with every click, and nothing is promised
 * before checkout.
 */
export const databaseCarts: Carts = {
  async read(db, cartId) {
    if (cartId === null) return toCart([]);
    const { rows } = await db.query<ProductRow>({
      text: `SELECT c.product_id, p.name, p.art, p.price_cents, c.quantity, i.stock
             FROM cart_items c JOIN products p ON p.id = c.product_id JOIN inventory i ON i.product_id = p.id
             WHERE c.cart_id = $1 ORDER BY c.added_at, c.product_id`,
      values: [cartId],
    });
    return toCart(rows);
  },
  add: (session, cartId, productId, quantity) =>
    session.transaction(
      async (tx) => {
        if (!(await isProduct(tx, productId))) return false;
        await tx.query({
          text: 'INSERT INTO carts (id) VALUES ($1) ON CONFLICT DO NOTHING',
          values: [cartId],
        });
        await tx.query({
          text: `INSERT INTO cart_items (cart_id, product_id, quantity) VALUES ($1, $2, least($3::int, $4::int))
                 ON CONFLICT (cart_id, product_id)
                 DO UPDATE SET quantity = least(cart_items.quantity + excluded.quantity, $4::int)`,
          values: [cartId, productId, quantity, MAX_QUANTITY],
        });
        return true;
      },
      { durability: 'async' },
    ),
  async set(session, cartId, productId, quantity) {
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
  },
  takeOrdered: () => Promise.resolve(),
};

/**
 * Carts on independent servers, any of which may be away: an add is taken as long as one of them lives. Products and
 * prices still come from the shop's database, which a follower answers.
 */
export function quorumCarts(kept: CartCollection): Carts {
  const read = async (cartId: string): Promise<Map<number, number>> => {
    // With only one server left, what that one knows is better than no cart.
    const got = await kept
      .get(cartId, { deadlineMs: 1_000 })
      .catch(() => kept.get(cartId, { level: 'one', deadlineMs: 1_000 }));
    return new Map(got.value.map(({ sku, quantity }) => [Number(sku), Math.min(quantity, MAX_QUANTITY)]));
  };
  const set = async (cartId: string, productId: number, quantity: number): Promise<void> => {
    await kept
      .set(cartId, productId, quantity, { deadlineMs: 1_000 })
      .catch(() => kept.set(cartId, productId, quantity, { level: 'accept' }));
  };
  return {
    async read(db, cartId) {
      const quantities = cartId === null ? new Map<number, number>() : await read(cartId);
      if (quantities.size === 0) return toCart([]);
      const ids = [...quantities.keys()];
      const { rows } = await db.query<ProductRow>({
        text: `SELECT p.id AS product_id, p.name, p.art, p.price_cents, 0 AS quantity, i.stock
               FROM products p JOIN inventory i ON i.product_id = p.id
               WHERE p.id = ANY ($1::bigint[]) ORDER BY array_position($1::bigint[], p.id)`,
        values: [ids],
      });
      return toCart(
        rows.map((row) => Object.assign(row, { quantity: quantities.get(Number(row.product_id)) ?? 0 })),
      );
    },
    async add(session, cartId, productId, quantity) {
      if (!(await isProduct(session, productId))) return false;
      const line = { sku: productId, quantity };
      // So that the cart which is shown next has it; with only one server left, that one takes it.
      await kept.add(cartId, line, { deadlineMs: 1_000 }).catch((error: unknown) => {
        const operation = error instanceof LockstepError ? error.details['operation'] : undefined;
        return kept.add(cartId, line, {
          level: 'accept',
          ...(operation === undefined ? {} : { operation: operation as AddOperation }),
        });
      });
      return true;
    },
    async set(_session, cartId, productId, quantity) {
      await set(cartId, productId, Math.min(quantity, MAX_QUANTITY));
    },
    async takeOrdered(cartId, items) {
      const quantities = await read(cartId);
      for (const { productId, quantity } of items) {
        const left = Math.max(0, (quantities.get(productId) ?? 0) - quantity);
        await set(cartId, productId, left);
      }
    },
  };
}

async function isProduct(db: Queryable, productId: number): Promise<boolean> {
  const { rowCount } = await db.query({ text: 'SELECT FROM products WHERE id = $1', values: [productId] });
  return rowCount !== 0;
}
