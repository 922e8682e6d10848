import { Hono } from 'hono';
import { html } from 'hono/html';
import type { ShopDatabase } from '../database.ts';
import { onlyThisMachine } from '../doors/doors.ts';
import type { ShopEnv } from '../visitor.ts';
import { renderPage } from './layout.ts';
import type { Html } from './layout.ts';

/** Everything that hangs on an order goes with it, in one transaction: a mistake as it happens. */
const DELETE_ALL_ORDERS = [
  'DELETE FROM payments',
  'UPDATE limited_pieces SET order_id = NULL WHERE order_id IS NOT NULL',
  'DELETE FROM orders',
];

/** A page with a button for a mistake, to bring back with `lockstep rescue`. Only served with `--demo`. */
export function createDemoRoutes(db: ShopDatabase): Hono<ShopEnv> {
  const routes = new Hono<ShopEnv>();
  routes.use('/demo/*', onlyThisMachine);
  routes.get('/demo', async (c) => {
    const { rows } = await db.query<{ orders: number }>({
      text: 'SELECT count(*)::int AS orders FROM orders',
    });
    return c.html(await page(renderButton(rows[0]?.orders ?? 0)));
  });
  routes.post('/demo/delete-orders', async (c) => {
    const deleted = await db.transaction(async (tx) => {
      let count = 0;
      for (const text of DELETE_ALL_ORDERS) count = (await tx.query({ text })).rowCount ?? 0;
      return count;
    });
    return c.html(await page(renderDone(deleted)));
  });
  return routes;
}

function page(body: Html): Html {
  return renderPage({ title: 'Make a mistake', account: null, cartCount: 0, body });
}

function renderButton(orders: number): Html {
  return html`<section class="notice">
    <h1>Make a mistake</h1>
    <p>There are ${orders} orders. This deletes every one of them, with their payments, on the leader.</p>
    <form method="post" action="/demo/delete-orders"><button class="button">Delete all orders</button></form>
  </section>`;
}

function renderDone(deleted: number): Html {
  return html`<section class="notice">
    <h1>${deleted} orders are gone</h1>
    <p>The followers have that too. The delayed node has not, yet:</p>
    <pre>
npx lockstep rescue list --since 10m
npx lockstep rescue open --before …
npx lockstep rescue restore --all --keep-newer
npx lockstep rescue close</pre>
  </section>`;
}
