import { afterAll, beforeAll, expect, test } from 'vitest';
import { createApp } from '../../examples/shop/app.ts';
import { createCardProvider, TEST_CARD } from '../../examples/shop/card-provider.ts';
import { createSchema } from '../../examples/shop/schema.ts';
import { placeDemoOrders } from '../../examples/shop/seed/demo-orders.ts';
import { seedCatalogue } from '../../examples/shop/seed/seed.ts';
import { connect } from '../../src/index.ts';
import type { LockstepPool } from '../../src/index.ts';
import { startTestCluster } from '../../src/testing/index.ts';
import type { TestCluster } from '../../src/testing/index.ts';

const SIZE = { products: 120, reviews: 600 };

let cluster: TestCluster;
let db: LockstepPool;
let app: ReturnType<typeof createApp>;

beforeAll(async () => {
  cluster = await startTestCluster();
  db = connect(cluster.url);
  const shopId = await createSchema(db);
  expect(await seedCatalogue(db, { size: SIZE })).toBe(true);
  app = createApp({ db, cards: createCardProvider(), shopId });
});

afterAll(async () => {
  await db?.end();
  await cluster?.[Symbol.asyncDispose]();
});

/** A browser: keeps cookies, sends JSON. */
function createVisitor(): (
  method: string,
  path: string,
  body?: unknown,
) => Promise<{ status: number; body: any }> {
  const cookies = new Map<string, string>();
  return async (method, path, body) => {
    const response = await app.request(path, {
      method,
      headers: {
        'content-type': 'application/json',
        cookie: [...cookies].map(([name, value]) => `${name}=${value}`).join('; '),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    for (const line of response.headers.getSetCookie()) {
      const [name = '', value = ''] = line.split(';')[0]?.split(/=(.*)/) ?? [];
      cookies.set(name, value);
    }
    const text = await response.text();
    return { status: response.status, body: text.startsWith('{') ? JSON.parse(text) : text };
  };
}

async function createBuyer(email: string): Promise<ReturnType<typeof createVisitor>> {
  const visitor = createVisitor();
  expect(
    (await visitor('POST', '/api/accounts', { email, name: 'Ada', password: 'correct horse' })).status,
  ).toBe(201);
  return visitor;
}

const shipTo = 'Ada, 12 Harbour Street, Northport';

test('seeding twice adds nothing, and goes on where it was cut off', async () => {
  expect(await seedCatalogue(db, { size: SIZE })).toBe(false);
  const before = await db.leader.query('SELECT * FROM reviews WHERE id > 400 AND id <= 600 ORDER BY id');
  await db.query('DELETE FROM seed_runs');
  await db.query('DELETE FROM reviews WHERE id > 400');
  expect(await seedCatalogue(db, { size: SIZE })).toBe(true);
  const after = await db.leader.query('SELECT * FROM reviews WHERE id > 400 AND id <= 600 ORDER BY id');
  const texts = (rows: { id: string; body: string }[]): string[] =>
    rows.map((row) => `${row.id} ${row.body}`);
  expect(texts(after.rows)).toEqual(texts(before.rows));
  expect(after.rows).toHaveLength(200);
});

test('the button that deletes all orders finds some, each with its item and its payment', async () => {
  await placeDemoOrders(db);
  await placeDemoOrders(db);
  const { rows } =
    await db.query(`SELECT count(*)::int AS orders, sum(o.total_cents - i.unit_price_cents)::int AS off,
    count(p.id)::int AS paid FROM orders AS o JOIN order_items AS i ON i.order_id = o.id
    JOIN products ON products.id = i.product_id AND products.price_cents = o.total_cents
    JOIN payments AS p ON p.order_id = o.id AND p.amount_cents = o.total_cents`);
  expect(rows).toEqual([{ orders: SIZE.products, off: 0, paid: SIZE.products }]);
});

test('a buyer sees the order right after paying, and the same key never buys twice', async () => {
  const visitor = await createBuyer('twice@example.com');
  await visitor('POST', '/api/cart/items', { productId: 7, quantity: 2 });
  const orderKey = crypto.randomUUID();
  const first = await visitor('POST', '/api/checkout', { orderKey, shipTo, card: TEST_CARD });
  expect(first).toMatchObject({ status: 201, body: { isRepeat: false } });
  const orders = await visitor('GET', '/api/orders');
  expect(orders.body.orders).toMatchObject([
    { id: first.body.orderId, items: [{ productId: 7, quantity: 2 }] },
  ]);
  await visitor('POST', '/api/cart/items', { productId: 8 });
  const again = await visitor('POST', '/api/checkout', { orderKey, shipTo, card: TEST_CARD });
  expect(again.body).toMatchObject({ orderId: first.body.orderId, isRepeat: true });
  expect((await visitor('GET', '/api/orders')).body.orders).toHaveLength(1);
});

test('the last piece goes to one of two buyers, and a refused card takes nothing', async () => {
  await db.query('UPDATE inventory SET stock = 1 WHERE product_id = 9');
  const buyers = await Promise.all([createBuyer('a@example.com'), createBuyer('b@example.com')]);
  const [first] = buyers;
  await Promise.all(buyers.map((visitor) => visitor('POST', '/api/cart/items', { productId: 9 })));
  const declined = await first?.('POST', '/api/checkout', {
    orderKey: crypto.randomUUID(),
    shipTo,
    card: { ...TEST_CARD, number: '4000 0000 0000 0002' },
  });
  expect(declined?.status).toBe(402);
  const results = await Promise.all(
    buyers.map((visitor) =>
      visitor('POST', '/api/checkout', { orderKey: crypto.randomUUID(), shipTo, card: TEST_CARD }),
    ),
  );
  expect(results.map((result) => result.status).toSorted()).toEqual([201, 409]);
  const { rows } = await db.leader.query('SELECT stock FROM inventory WHERE product_id = 9');
  expect(rows).toEqual([{ stock: 0 }]);
});

test('a review shows at once and moves the rating, and a second one replaces it', async () => {
  const visitor = await createBuyer('critic@example.com');
  const before = (await db.leader.query('SELECT review_count FROM products WHERE id = 11')).rows[0]
    .review_count;
  for (const rating of [2, 5]) {
    expect(
      (await visitor('POST', '/api/products/11/reviews', { rating, title: 'Mine', body: `Worth ${rating}` }))
        .status,
    ).toBe(201);
    expect((await visitor('GET', '/api/products/11/reviews')).body.reviews[0]).toMatchObject({
      rating,
      body: `Worth ${rating}`,
    });
  }
  const { rows } = await db.leader.query('SELECT review_count FROM products WHERE id = 11');
  expect(rows).toEqual([{ review_count: before + 1 }]);
});

test('bad input is refused with a sentence, and text of visitors is escaped', async () => {
  const visitor = await createBuyer('mallory@example.com');
  expect((await visitor('GET', '/api/products/none')).status).toBe(400);
  expect((await visitor('GET', '/api/products/99999')).status).toBe(404);
  expect((await visitor('POST', '/api/cart/items', { productId: 1, quantity: 0 })).status).toBe(400);
  await visitor('POST', '/api/products/12/reviews', {
    rating: 5,
    title: '<script>alert(1)</script>',
    body: 'x',
  });
  const page = await visitor('GET', '/products/12');
  expect(page.body).toContain('&lt;script&gt;');
  expect(page.body).not.toContain('<script>alert');
  const foreign = await app.request('/cart/items', {
    method: 'POST',
    headers: { origin: 'https://elsewhere.example', 'content-type': 'application/x-www-form-urlencoded' },
    body: 'productId=1',
  });
  expect(foreign.status).toBe(403);
});

test('a page says which node answered it, and it is a follower', async () => {
  const visitor = createVisitor();
  await expect
    .poll(async () => (await visitor('GET', '/')).body as string, { timeout: 30_000 })
    .toMatch(/Read from <b>n\d<\/b>, a follower/);
  const { body } = await visitor('GET', '/products/7');
  expect(body).toContain('behind this page');
  expect(body).toMatch(/Session token <code>\d+-/);
});

test('the orders page says which disks hold them', async () => {
  const visitor = await createBuyer('disks@example.com');
  await visitor('POST', '/api/cart/items', { productId: 5 });
  const order = await visitor('POST', '/api/checkout', {
    orderKey: crypto.randomUUID(),
    shipTo,
    card: TEST_CARD,
  });
  expect(order.status).toBe(201);
  await expect
    .poll(
      async () => ((await visitor('GET', '/orders')).body as string).split('holds your orders').length - 1,
      {
        timeout: 30_000,
      },
    )
    .toBe(3);
});

test('the character NUL is the visitor’s mistake, wherever it stands', async () => {
  const visitor = await createBuyer('nul@example.com');
  expect((await visitor('GET', '/?q=%00')).status).toBe(400);
  expect((await visitor('GET', '/api/products?q=a%00b')).status).toBe(400);
  const review = { rating: 5, title: 'a\0b', body: 'fine' };
  expect((await visitor('POST', '/api/products/5/reviews', review)).status).toBe(400);
  const account = { email: 'nul2@example.com', name: 'A\0da', password: 'correct horse' };
  expect((await visitor('POST', '/api/accounts', account)).status).toBe(400);
});

test('cookies stay on https where the shop was asked over it, and forms are short', async () => {
  const ask = (origin: string, body: string): Promise<Response> =>
    Promise.resolve(
      app.request(`${origin}/api/cart/items`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body,
      }),
    );
  const add = JSON.stringify({ productId: 5 });
  const cookies = async (origin: string): Promise<string[]> =>
    (await ask(origin, add)).headers.getSetCookie();
  for (const cookie of await cookies('https://shop.test')) expect(cookie).toContain('; Secure');
  for (const cookie of await cookies('http://shop.test')) expect(cookie).not.toContain('Secure');
  expect((await ask('http://shop.test', `${add}${' '.repeat(70_000)}`)).status).toBe(413);
});

test('without a leader the catalogue is still there', async () => {
  const leader = await cluster.leader();
  const [follower = ''] = cluster.nodes.map(({ name }) => name).filter((name) => name !== leader);
  await cluster.kill(follower);
  await cluster.kill(leader);
  await expect.poll(async () => (await db.topology()).leader, { timeout: 30_000 }).toBeNull();
  const { status, body } = await createVisitor()('GET', '/');
  expect(status).toBe(200);
  expect(body).toContain('a follower');
});
