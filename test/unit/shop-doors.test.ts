import { Hono } from 'hono';
import type { Context } from 'hono';
import type { HTTPException } from 'hono/http-exception';
import { describe, expect, test } from 'vitest';
import { Attempts } from '../../examples/shop/doors/attempts.ts';
import { addressOf, isEncrypted } from '../../examples/shop/doors/caller.ts';
import { guardPasswords, refuseNul } from '../../examples/shop/doors/doors.ts';
import { createRegionalPages } from '../../examples/shop/regional-pages.ts';
import type { ShopEnv } from '../../examples/shop/visitor.ts';
import { createDemoRoutes } from '../../examples/shop/web/demo.ts';

const RIGHT = 'correct horse';

/** A door with a password behind it, and a clock that the test moves. */
function openDoor(isBehindProxy = true): {
  try(email: string, password: string, from?: string): Promise<Response>;
  pass(ms: number): void;
} {
  let nowMs = 0;
  const app = new Hono();
  app.onError((error, c) => c.text(error.message, (error as HTTPException).status));
  app.use(guardPasswords({ isBehindProxy }, () => nowMs));
  app.post('/sign-in', async (c: Context) => {
    const { password } = await c.req.parseBody();
    return c.text('', password === RIGHT ? 200 : 401);
  });
  return {
    try: async (email, password, from = '10.0.0.1') =>
      app.request('/sign-in', {
        method: 'POST',
        headers: { 'x-forwarded-for': `spoofed, ${from}` },
        body: new URLSearchParams({ email, password }),
      }),
    pass: (ms) => (nowMs += ms),
  };
}

async function statuses(count: number, ask: (n: number) => Promise<Response>): Promise<number[]> {
  const answers: number[] = [];
  for (let n = 0; n < count; n += 1) answers.push((await ask(n)).status);
  return answers;
}

describe('sign-in', () => {
  test('lets one address guess an account only a few times, whatever it writes before its name', async () => {
    const door = openDoor();
    expect(await statuses(8, () => door.try('ada@example.org', 'guess'))).toEqual([
      401, 401, 401, 401, 401, 429, 429, 429,
    ]);
    const refused = await door.try(' ADA@example.org', RIGHT);
    expect([refused.status, Number(refused.headers.get('retry-after'))]).toEqual([429, 600]);
    // Not even the right password; but the person herself gets in from elsewhere, and all do later.
    expect((await door.try('ada@example.org', RIGHT, '10.0.0.2')).status).toBe(200);
    door.pass(10 * 60_000);
    expect((await door.try('ada@example.org', RIGHT)).status).toBe(200);
  });

  test('lets one address try no list of accounts, nor many addresses one account', async () => {
    const door = openDoor();
    const list = await statuses(40, (n) => door.try(`p${n}@example.org`, 'guess'));
    expect(list.filter((status) => status === 401)).toHaveLength(30);
    const crowd = await statuses(120, (n) => door.try('bob@example.org', 'guess', `10.1.0.${n}`));
    expect(crowd.filter((status) => status === 401)).toHaveLength(100);
  });

  test('does not count against who gets it right in the end', async () => {
    const door = openDoor();
    for (let n = 0; n < 4; n += 1) {
      expect(await statuses(4, () => door.try('ada@example.org', 'mistyped'))).not.toContain(429);
      expect((await door.try('ada@example.org', RIGHT)).status).toBe(200);
    }
  });

  test('believes no header where there is no proxy', async () => {
    const door = openDoor(false);
    const answers = await statuses(8, (n) => door.try('ada@example.org', 'guess', `10.0.0.${n}`));
    expect(answers.filter((status) => status === 401)).toHaveLength(5);
  });
});

describe('failed attempts', () => {
  test('are remembered for so many keys and no more', () => {
    const attempts = new Attempts({ limit: 1, windowMs: 1_000, clock: () => 0 });
    for (let n = 0; n < 20_000; n += 1) attempts.failed(`key ${n}`);
    expect([attempts.waitMs('key 0'), attempts.waitMs('key 19999')]).toEqual([0, 1_000]);
  });
});

describe('the character NUL', () => {
  test.each(['/?q=%00', '/products/1%00', '/?q=a%00b'])('in %s is refused', async (path) => {
    const app = new Hono();
    app.onError((error, c) => c.text(error.message, (error as HTTPException).status));
    app.use(refuseNul);
    app.get('*', (c) => c.text('ok'));
    expect((await app.request(path)).status).toBe(400);
    expect((await app.request('/', { headers: { cookie: 'shop_seen=a%00b' } })).status).toBe(400);
    expect((await app.request('/?q=%20')).status).toBe(200);
  });
});

describe('who asks', () => {
  test('is encrypted by its address, or by what the proxy says last', async () => {
    const seen: [string, boolean, boolean][] = [];
    const app = new Hono();
    app.get('*', (c) => {
      const [without, behind] = [false, true].map((isBehindProxy) => ({ isBehindProxy }));
      seen.push([addressOf(c, behind!), isEncrypted(c, without!), isEncrypted(c, behind!)]);
      return c.text('');
    });
    const headers = { 'x-forwarded-for': '1.1.1.1, 10.0.0.9', 'x-forwarded-proto': 'http, https' };
    await app.request('http://shop.test/', { headers });
    await app.request('https://shop.test/');
    expect(seen).toEqual([
      ['10.0.0.9', false, true],
      ['unknown', true, false],
    ]);
  });
});

describe('pages that need no account', () => {
  test.each([
    ['http://127.0.0.1:3000', {}, 200],
    ['http://localhost:3000', {}, 200],
    // Another site's name, pointed at this machine: its pages pass for the shop's own.
    ['http://rebound.example:3000', {}, 403],
    ['http://127.0.0.1:3000', { host: 'rebound.example:3000' }, 403],
    // A proxy may name the shop as it reaches it.
    ['http://127.0.0.1:3000', { 'x-forwarded-for': '203.0.113.7' }, 403],
  ])('are for this machine: %s with %o gets %i', async (origin, headers, status) => {
    const routes = createDemoRoutes({
      query: async () => ({ rows: [{ orders: 1 }] }),
      transaction: async () => 1,
    } as never);
    const pages = createRegionalPages(new Map());
    const ask = (app: Hono<ShopEnv>, path: string, method: string): Promise<Response> => {
      app.onError((error, c) => c.text(error.message, (error as HTTPException).status ?? 500));
      return Promise.resolve(app.request(`${origin}${path}`, { method, headers }));
    };
    expect((await ask(routes, '/demo', 'GET')).status).toBe(status);
    expect((await ask(routes, '/demo/delete-orders', 'POST')).status).toBe(status);
    const edited = await ask(pages, '/regions/eu/products/1', 'POST');
    expect(edited.status).toBe(status === 200 ? 404 : status);
  });
});
