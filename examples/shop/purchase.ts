import type { Card, CardProvider } from './card-provider.ts';
import type { Carts } from './carts.ts';
import { confirmOrder, placeOrder } from './checkout.ts';
import type { CheckoutRequest, CheckoutResult } from './checkout.ts';
import type { ShopDatabase, ShopSession, ShopWriter } from './database.ts';
import { capturePayment } from './payments.ts';
import { settle } from './settle.ts';
import type { SettleOptions } from './settle.ts';

/**
 * Buys, and does not come back without a certain answer while the deadline lasts: through a failover the
 * same order key is asked for again until the order is placed, or surely is not.
 */
export async function buy(
  db: ShopDatabase,
  session: ShopWriter,
  cards: CardProvider,
  request: CheckoutRequest,
  options: SettleOptions = {},
): Promise<CheckoutResult> {
  const result = await settle(() => placeOrder(session, cards, request), options);
  if (result.kind === 'placed') {
    // The order stands already; an uncaptured payment is captured when the shop starts again.
    await capturePayment(db, cards, result.paymentReference).catch(() => undefined);
  }
  return result;
}

/** Buys what is in the visitor's cart. Sent again after it was placed, it answers the order that exists. */
export async function buyCart(
  db: ShopDatabase,
  cards: CardProvider,
  visitor: { readonly session: ShopSession; readonly cartId: string | null; readonly carts: Carts },
  request: {
    readonly orderKey: string;
    readonly accountId: number;
    readonly shipTo: string;
    readonly card: Card;
  },
): Promise<CheckoutResult> {
  const { session, cartId, carts } = visitor;
  const placed = await settle(() => confirmOrder(session, request.accountId, request.orderKey), {
    deadlineMs: 20_000,
  });
  if (placed !== null) return placed;
  const cart = await carts.read(session, cartId);
  if (cart.lines.length === 0 || cartId === null) return { kind: 'rejected', reason: 'The cart is empty.' };
  const items = cart.lines.map(({ productId, quantity }) => ({ productId, quantity }));
  const result = await buy(db, session, cards, { ...request, items, cartId }, { deadlineMs: 20_000 });
  // The order stands, whatever becomes of the cart.
  if (result.kind === 'placed') await carts.takeOrdered(cartId, items).catch(() => undefined);
  return result;
}
