import { Hono } from 'hono';
import type { Context } from 'hono';
import { HTTPException } from 'hono/http-exception';
import type { z } from 'zod';
import { createAccount, findByPassword, signIn, signOut } from './accounts.ts';
import type { CardProvider } from './card-provider.ts';
import { findProduct, listCategories, listProducts } from './catalog.ts';
import type { ShopDatabase } from './database.ts';
import {
  accountInput,
  addInput,
  checkoutInput,
  describeProblems,
  listInput,
  productIdInput,
  quantityInput,
  reviewInput,
  signInInput,
} from './input.ts';
import { listOrders } from './orders.ts';
import { buyCart } from './purchase.ts';
import { listReviews, writeReview } from './reviews.ts';
import { ensureCart, forgetSignIn, rememberSignIn } from './visitor.ts';
import type { ShopEnv } from './visitor.ts';

const REVIEWS_PER_PAGE = 20;

/** The shop as JSON. Errors are `{ error }` with one sentence. */
export function createApi(db: ShopDatabase, cards: CardProvider): Hono<ShopEnv> {
  const api = new Hono<ShopEnv>();
  addCatalogue(api, db);
  addAccounts(api);
  addCart(api);
  addOrders(api, db, cards);
  api.all('*', (c) => c.json({ error: `There is no ${c.req.method} ${c.req.path}.` }, 404));
  return api;
}

function addCatalogue(api: Hono<ShopEnv>, db: ShopDatabase): void {
  api.get('/categories', async (c) => c.json({ categories: await listCategories(db) }));
  api.get('/products', async (c) => {
    const { q, ...request } = check(listInput, c.req.query());
    return c.json(await listProducts(db, { ...request, search: q }));
  });
  api.get('/products/:id', async (c) => {
    const product = await findProduct(db, check(productIdInput, c.req.param('id')));
    return product === null ? c.json({ error: 'There is no such product.' }, 404) : c.json({ product });
  });
  api.get('/products/:id/reviews', async (c) => {
    const { page = 1 } = check(listInput, c.req.query());
    const id = check(productIdInput, c.req.param('id'));
    return c.json(
      await listReviews(c.get('visitor').session, id, REVIEWS_PER_PAGE, (page - 1) * REVIEWS_PER_PAGE),
    );
  });
  api.post('/products/:id/reviews', async (c) => {
    const account = requireAccount(c);
    const review = check(reviewInput, await readJson(c));
    const productId = check(productIdInput, c.req.param('id'));
    const isWritten = await writeReview(c.get('visitor').session, { productId, account, ...review });
    return isWritten ? c.json({ review }, 201) : c.json({ error: 'There is no such product.' }, 404);
  });
}

function addAccounts(api: Hono<ShopEnv>): void {
  api.post('/accounts', async (c) => {
    const request = check(accountInput, await readJson(c));
    const { session } = c.get('visitor');
    const account = await createAccount(session, request);
    if (account === null)
      return c.json({ error: 'There is an account with this address already; sign in instead.' }, 409);
    rememberSignIn(c, await signIn(session, account.id));
    return c.json({ account }, 201);
  });
  api.get('/accounts/me', (c) => c.json({ account: requireAccount(c) }));
  api.post('/sign-in', async (c) => {
    const { email, password } = check(signInInput, await readJson(c));
    const { session } = c.get('visitor');
    const account = await findByPassword(session, email, password);
    if (account === null) return c.json({ error: 'The address or the password is not right.' }, 401);
    rememberSignIn(c, await signIn(session, account.id));
    return c.json({ account });
  });
  api.post('/sign-out', async (c) => {
    const secret = forgetSignIn(c);
    if (secret !== undefined) await signOut(c.get('visitor').session, secret);
    return c.json({ account: null });
  });
}

function addCart(api: Hono<ShopEnv>): void {
  const answer = async (c: Context<ShopEnv>, cartId: string | null): Promise<Response> =>
    c.json(await c.get('visitor').carts.read(c.get('visitor').session, cartId));
  api.get('/cart', (c) => answer(c, c.get('visitor').cartId));
  api.post('/cart/items', async (c) => {
    const { productId, quantity } = check(addInput, await readJson(c));
    const cartId = ensureCart(c);
    const { carts, session } = c.get('visitor');
    const isAdded = await carts.add(session, cartId, productId, quantity);
    return isAdded ? answer(c, cartId) : c.json({ error: 'There is no such product.' }, 404);
  });
  api.put('/cart/items/:id', async (c) => {
    const { quantity } = check(quantityInput, await readJson(c));
    const { carts, session, cartId } = c.get('visitor');
    if (cartId !== null) await carts.set(session, cartId, check(productIdInput, c.req.param('id')), quantity);
    return answer(c, cartId);
  });
}

function addOrders(api: Hono<ShopEnv>, db: ShopDatabase, cards: CardProvider): void {
  api.get('/orders', async (c) => {
    const account = requireAccount(c);
    return c.json({ orders: await listOrders(c.get('visitor').session, account.id) });
  });
  api.post('/checkout', async (c) => {
    const account = requireAccount(c);
    const request = check(checkoutInput, await readJson(c));
    const result = await buyCart(db, cards, c.get('visitor'), { ...request, accountId: account.id });
    switch (result.kind) {
      case 'placed':
        return c.json(
          { orderId: result.orderId, totalCents: result.totalCents, isRepeat: result.isRepeat },
          201,
        );
      case 'sold-out':
        return c.json(
          { error: `Product ${result.productId} is sold out.`, productId: result.productId },
          409,
        );
      case 'declined':
        return c.json({ error: result.reason }, 402);
      case 'rejected':
        return c.json({ error: result.reason }, 422);
    }
  });
}

function requireAccount(c: Context<ShopEnv>): {
  readonly id: number;
  readonly email: string;
  readonly name: string;
} {
  const { account } = c.get('visitor');
  if (account === null)
    throw new HTTPException(401, { message: 'Sign in first: POST /api/sign-in or /api/accounts.' });
  return account;
}

function check<T>(schema: z.ZodType<T>, value: unknown): T {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  throw new HTTPException(400, { message: describeProblems(parsed.error) });
}

async function readJson(c: Context): Promise<unknown> {
  try {
    return await c.req.json();
  } catch {
    throw new HTTPException(400, { message: 'The body is not JSON.' });
  }
}
