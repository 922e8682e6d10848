import type { Authorization, CardProvider } from './card-provider.ts';
import type { Queryable, ShopDatabase } from './database.ts';

type Authorized = Extract<Authorization, { kind: 'authorized' }>;

/** Writes the payment into the order's own transaction, so that neither exists without the other. */
export async function recordPayment(
  tx: Queryable,
  orderId: number,
  key: string,
  authorized: Authorized,
): Promise<void> {
  await tx.query({
    text: `INSERT INTO payments (order_id, idempotency_key, amount_cents, card_brand, card_last4, provider_reference)
           VALUES ($1, $2, $3, $4, $5, $6)`,
    values: [orderId, key, authorized.amountCents, authorized.brand, authorized.last4, authorized.reference],
  });
}

/**
 * Takes the money of a committed order. Commits asynchronously: when the note is lost, the payment counts as
 * outstanding again and is captured once more, which the provider does only once.
 */
export async function capturePayment(db: Queryable, cards: CardProvider, reference: string): Promise<void> {
  await cards.capture(reference);
  await db.query({
    text: 'UPDATE payments SET captured_at = now() WHERE provider_reference = $1 AND captured_at IS NULL',
    values: [reference],
    durability: 'async',
  });
}

/** Captures what a crash left between commit and capture. Returns how many there were. */
export async function captureOutstanding(db: ShopDatabase, cards: CardProvider): Promise<number> {
  const { rows } = await db.query<{ provider_reference: string }>({
    text: 'SELECT provider_reference FROM payments WHERE captured_at IS NULL ORDER BY id LIMIT 1000',
  });
  for (const { provider_reference } of rows) await capturePayment(db, cards, provider_reference);
  return rows.length;
}
