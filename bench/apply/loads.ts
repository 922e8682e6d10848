/** A backlog that both sides apply. */
export interface ApplyLoad {
  /** Also the name of its publication, slot and follow. */
  readonly name: string;
  readonly tables: readonly string[];
  /** On both servers, once. */
  readonly schema: string;
  /** Rows that both have at first; runs on the source, and on the target before each round. */
  readonly fill: string;
  /** On the source, so many transactions. */
  readonly backlog: (transactions: number) => string;
  /** How many source transactions, and how many changed rows, the backlog has. */
  readonly transactionsOf: (transactions: number) => number;
  readonly rowsOf: (transactions: number) => number;
}

const WIDE =
  'customer_id int NOT NULL, status text NOT NULL, note text NOT NULL, updated_at timestamptz NOT NULL';
const FILL = (table: string, rows: number): string =>
  `INSERT INTO ${table} SELECT g, g % 50000, 'paid', rpad(md5(g::text), 60, 'x'), '2026-01-01' FROM generate_series(1, ${rows}) g`;

/** Keys are spread, so that neighbours in the log are not neighbours on the disk. */
const SPREAD = (expression: string, rows: number): string => `1 + (${expression})::bigint * 7919 % ${rows}`;

function eachAlone(statement: string, count: number): string {
  return `DO $$ BEGIN FOR i IN 1..${count} LOOP ${statement}; COMMIT; END LOOP; END $$`;
}

const ROWS = 300_000;

const updates: ApplyLoad = {
  name: 'updates',
  tables: ['t_updates'],
  schema: `CREATE TABLE t_updates (id bigint PRIMARY KEY, ${WIDE})`,
  fill: FILL('t_updates', ROWS),
  backlog: (count) =>
    eachAlone(
      `UPDATE t_updates SET status = 'shipped', customer_id = customer_id + 1, updated_at = now() WHERE id = ${SPREAD('i', ROWS)}`,
      count,
    ),
  transactionsOf: (count) => count,
  rowsOf: (count) => count,
};

const inserts: ApplyLoad = {
  name: 'inserts',
  tables: ['t_inserts'],
  schema: `CREATE TABLE t_inserts (id bigint PRIMARY KEY, ${WIDE})`,
  fill: 'SELECT 1',
  backlog: (count) =>
    eachAlone(
      `INSERT INTO t_inserts VALUES (i, i % 50000, 'new', rpad(md5(i::text), 60, 'x'), now())`,
      count,
    ),
  transactionsOf: (count) => count,
  rowsOf: (count) => count,
};

/** The shop's: an order, three items, three pieces of stock, a payment, the order again. */
const orders: ApplyLoad = {
  name: 'orders',
  tables: ['products', 'orders', 'order_items', 'payments'],
  schema: `
    CREATE TABLE products (id int PRIMARY KEY, stock int NOT NULL, price numeric(10, 2) NOT NULL, updated_at timestamptz NOT NULL);
    CREATE TABLE orders (id bigint PRIMARY KEY, customer_id int NOT NULL, status text NOT NULL, total numeric(10, 2) NOT NULL, updated_at timestamptz NOT NULL);
    CREATE TABLE order_items (order_id bigint REFERENCES orders, line int, product_id int REFERENCES products, qty int NOT NULL, price numeric(10, 2) NOT NULL, PRIMARY KEY (order_id, line));
    CREATE TABLE payments (id bigint PRIMARY KEY, order_id bigint REFERENCES orders, amount numeric(10, 2), provider text, ref text, updated_at timestamptz);
    CREATE INDEX ON order_items (product_id); CREATE INDEX ON orders (customer_id); CREATE INDEX ON payments (order_id)`,
  fill: `INSERT INTO products SELECT g, 1000000, 10.5, '2026-01-01' FROM generate_series(1, 1000) g`,
  backlog: (count) => {
    const each = `
      INSERT INTO orders VALUES (i, 1 + i % 50000, 'new', 31.5, now());
      INSERT INTO order_items VALUES (i, 1, 1 + i * 7 % 330, 1, 10.5), (i, 2, 331 + i * 11 % 330, 1, 10.5), (i, 3, 661 + i * 13 % 330, 1, 10.5);
      UPDATE products SET stock = stock - 1, updated_at = now() WHERE id IN (1 + i * 7 % 330, 331 + i * 11 % 330, 661 + i * 13 % 330);
      INSERT INTO payments VALUES (i, i, 31.5, 'stripe', 'pi_' || md5(i::text), now());
      UPDATE orders SET status = 'paid', updated_at = now() WHERE id = i`;
    return eachAlone(each, shopOrders(count));
  },
  transactionsOf: shopOrders,
  rowsOf: (count) => shopOrders(count) * 9,
};

/** Each is nine rows, so that a seventh as many make a backlog of about the same length. */
function shopOrders(count: number): number {
  return Math.ceil(count / 7);
}

const largeInsert: ApplyLoad = {
  name: 'large_insert',
  tables: ['t_large_insert'],
  schema: `CREATE TABLE t_large_insert (id bigint PRIMARY KEY, ${WIDE})`,
  fill: 'SELECT 1',
  backlog: (count) =>
    `INSERT INTO t_large_insert SELECT g, g % 50000, 'new', rpad(md5(g::text), 60, 'x'), now() FROM generate_series(1, ${count}) g`,
  transactionsOf: () => 1,
  rowsOf: (count) => count,
};

const largeUpdate: ApplyLoad = {
  name: 'large_update',
  tables: ['t_large_update'],
  schema: `CREATE TABLE t_large_update (id bigint PRIMARY KEY, ${WIDE})`,
  fill: FILL('t_large_update', ROWS),
  backlog: (count) =>
    `UPDATE t_large_update SET status = 'shipped', customer_id = customer_id + 1, updated_at = now() WHERE id <= ${count}`,
  transactionsOf: () => 1,
  rowsOf: (count) => count,
};

/** One hundred rows that everybody wants. */
const hotRows: ApplyLoad = {
  name: 'hot_rows',
  tables: ['t_hot_rows'],
  schema: `CREATE TABLE t_hot_rows (id bigint PRIMARY KEY, n bigint NOT NULL)`,
  fill: 'INSERT INTO t_hot_rows SELECT g, 0 FROM generate_series(1, 100) g',
  backlog: (count) => eachAlone(`UPDATE t_hot_rows SET n = n + 1 WHERE id = 1 + i % 100`, count),
  transactionsOf: (count) => count,
  rowsOf: (count) => count,
};

/** No backlog: what is written while it is followed. */
const lag: ApplyLoad = {
  name: 'lag',
  tables: ['t_lag', 't_beats'],
  schema: `CREATE TABLE t_lag (id bigint PRIMARY KEY, ${WIDE});
    CREATE TABLE t_beats (id int PRIMARY KEY, at timestamptz NOT NULL, is_measured boolean NOT NULL)`,
  fill: `${FILL('t_lag', 4_000)}; INSERT INTO t_beats SELECT g, '2026-01-01', false FROM generate_series(0, 3) g`,
  backlog: () => 'SELECT 1',
  transactionsOf: () => 0,
  rowsOf: () => 0,
};

type LoadName = 'updates' | 'inserts' | 'orders' | 'largeInsert' | 'largeUpdate' | 'hotRows' | 'lag';

export const LOADS: Readonly<Record<LoadName, ApplyLoad>> = {
  updates,
  inserts,
  orders,
  largeInsert,
  largeUpdate,
  hotRows,
  lag,
};
