/** Something that somebody does by mistake, and what of the shop it takes away. */
export interface Mistake {
  readonly name: string;
  readonly sql: string;
  /** Tables whose rows it writes, and the condition for those rows. */
  readonly tables: readonly { readonly name: string; readonly where: string }[];
  /** It takes definitions with it, which only pg_dump brings back. */
  readonly drops: boolean;
  /** What `rescue list` has to say of it; null where it looks like daily work. */
  readonly danger: RegExp | null;
}

/** An account that has many orders. */
export const CUSTOMER = 7;
const THEIRS = `order_id IN (SELECT id FROM orders WHERE account_id = ${CUSTOMER})`;

export const MISTAKES: readonly Mistake[] = [
  {
    name: 'DROP TABLE orders CASCADE',
    sql: 'DROP TABLE orders CASCADE',
    tables: [{ name: 'orders', where: 'true' }],
    drops: true,
    danger: /^drops orders$/,
  },
  {
    name: 'UPDATE products SET price_cents = 1',
    sql: 'UPDATE products SET price_cents = 1',
    tables: [{ name: 'products', where: 'true' }],
    drops: false,
    danger: /^updates every row of products$/,
  },
  {
    name: 'DELETE of one customer',
    sql: `DELETE FROM payments WHERE ${THEIRS}; DELETE FROM orders WHERE account_id = ${CUSTOMER}`,
    tables: [
      { name: 'orders', where: `account_id = ${CUSTOMER}` },
      { name: 'order_items', where: THEIRS },
      { name: 'payments', where: THEIRS },
    ],
    drops: false,
    danger: null,
  },
  {
    name: 'TRUNCATE reviews',
    sql: 'TRUNCATE reviews',
    tables: [{ name: 'reviews', where: 'true' }],
    drops: false,
    danger: /^truncates reviews$/,
  },
];
