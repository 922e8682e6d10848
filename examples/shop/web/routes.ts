import { Hono } from 'hono';
import type { Context } from 'hono';
import { HTTPException } from 'hono/http-exception';
import { createAccount, findByPassword, signIn, signOut } from '../accounts.ts';
import type { CardProvider } from '../card-provider.ts';
import { findProduct, listCategories, listProducts, listSimilar } from '../catalog.ts';
import type { Category } from '../catalog.ts';
import type { ShopDatabase } from '../database.ts';
import {
  accountInput,
  addInput,
  checkoutInput,
  describeProblems,
  listInput,
  pageInput,
  productIdInput,
  quantityInput,
  reviewInput,
  signInInput,
} from '../input.ts';
import { listOrders } from '../orders.ts';
import { buyCart } from '../purchase.ts';
import { listReviews, writeReview } from '../reviews.ts';
import { ensureCart, forgetSignIn, rememberSignIn } from '../visitor.ts';
import type { ShopEnv } from '../visitor.ts';
import { renderAccountPage, renderOrdersPage, renderSignInPage } from './account-pages.ts';
import { renderCartPage, renderCheckoutPage } from './cart-pages.ts';
import { renderCataloguePage } from './catalogue-page.ts';
import { renderNotice, renderPage } from './layout.ts';
import type { Html } from './layout.ts';
import { renderProductPage, REVIEWS_PER_PAGE } from './product-page.ts';

type ShopContext = Context<ShopEnv>;

interface Shown {
  readonly title: string;
  readonly body: Html;
  readonly search?: string | undefined;
  readonly showsOrders?: boolean;
  readonly status?: 200 | 400 | 401 | 402 | 404 | 409 | 422;
}

/** The shop's pages. Forms answer with a redirect, so that going back never buys or writes twice. */
export function createWebRoutes(db: ShopDatabase, cards: CardProvider): Hono<ShopEnv> {
  const web = new Hono<ShopEnv>();
  addCataloguePages(web);
  addCartPages(web);
  addCheckoutPages(web, db, cards);
  addAccountPages(web);
  return web;
}

/** Renders the frame around a page, with what the visitor's session knows. */
export async function show(c: ShopContext, shown: Shown): Promise<Response> {
  const { account, session, cartId, carts, statements } = c.get('visitor');
  const cart = await carts.read(session, cartId);
  const { nodes } = await c.get('topology')();
  const behind = { statements, nodes, token: session.token, showsOrders: shown.showsOrders ?? false };
  const page = await renderPage({ ...shown, account, cartCount: cart.count, behind });
  return c.html(page, shown.status ?? 200);
}

function addCataloguePages(web: Hono<ShopEnv>): void {
  web.get('/', async (c) => {
    const parsed = listInput.safeParse(c.req.query());
    if (!parsed.success) return c.redirect('/');
    const { q, ...rest } = parsed.data;
    const request = { ...rest, search: q === '' ? undefined : q };
    const { session } = c.get('visitor');
    const [page, categories] = await Promise.all([listProducts(session, request), listCategories(session)]);
    const category = categories.find((candidate) => candidate.slug === request.category);
    const title = request.search ?? category?.name ?? 'Good things for the home';
    return show(c, {
      title,
      body: renderCataloguePage(page, categories, request),
      search: request.search,
    });
  });
  web.get('/products/:id', (c) => showProduct(c));
  web.post('/products/:id/reviews', async (c) => {
    const { account, session } = c.get('visitor');
    const productId = readId(c);
    if (account === null) return c.redirect(`/sign-in?next=/products/${productId}`, 303);
    const review = reviewInput.safeParse(await c.req.parseBody());
    if (!review.success) return showProduct(c, describeProblems(review.error));
    await writeReview(session, { productId, account, ...review.data });
    return c.redirect(`/products/${productId}#reviews`, 303);
  });
}

async function showProduct(c: ShopContext, problem?: string): Promise<Response> {
  const { account, session } = c.get('visitor');
  const id = readId(c);
  const page = pageInput.safeParse(c.req.query('reviews'));
  const reviewPage = page.success ? page.data : 1;
  const [product, categories, reviews] = await Promise.all([
    findProduct(session, id),
    listCategories(session),
    listReviews(session, id, REVIEWS_PER_PAGE, (reviewPage - 1) * REVIEWS_PER_PAGE),
  ]);
  if (product === null) return showMissing(c);
  const category: Category | undefined = categories.find((candidate) => candidate.slug === product.category);
  const similar = await listSimilar(session, product);
  const body = renderProductPage({ product, category, reviews, similar, account, reviewPage, problem });
  return show(c, {
    title: product.name,
    body,
    status: problem === undefined ? 200 : 400,
  });
}

export function showMissing(c: ShopContext): Promise<Response> {
  const text = 'It may have moved, or it was never here.';
  return show(c, {
    title: 'Not found',
    body: renderNotice('There is nothing here', text, { href: '/', label: 'Back to the shop' }),
    status: 404,
  });
}

function addCartPages(web: Hono<ShopEnv>): void {
  web.get('/cart', async (c) => {
    const { session, cartId, carts } = c.get('visitor');
    return show(c, { title: 'Cart', body: renderCartPage(await carts.read(session, cartId)) });
  });
  web.post('/cart/items', async (c) => {
    const input = addInput.safeParse(await c.req.parseBody());
    if (!input.success) throw new HTTPException(400, { message: describeProblems(input.error) });
    const { carts, session } = c.get('visitor');
    await carts.add(session, ensureCart(c), input.data.productId, input.data.quantity);
    return c.redirect('/cart', 303);
  });
  web.post('/cart/items/:id', async (c) => {
    const { session, cartId, carts } = c.get('visitor');
    const input = quantityInput.safeParse(await c.req.parseBody());
    if (input.success && cartId !== null) await carts.set(session, cartId, readId(c), input.data.quantity);
    return c.redirect('/cart', 303);
  });
}

function addCheckoutPages(web: Hono<ShopEnv>, db: ShopDatabase, cards: CardProvider): void {
  web.get('/checkout', (c) => showCheckout(c, { orderKey: crypto.randomUUID(), shipTo: '' }));
  web.post('/checkout', async (c) => {
    const { account } = c.get('visitor');
    if (account === null) return c.redirect('/sign-in?next=/checkout', 303);
    const { number, expiry, cvc, ...rest } = await c.req.parseBody();
    const input = checkoutInput.safeParse({ ...rest, card: { number, expiry, cvc } });
    // The same key again: whatever was wrong, a second click must not buy a second time.
    const form = { orderKey: String(rest['orderKey'] ?? ''), shipTo: String(rest['shipTo'] ?? '') };
    if (!input.success) return showCheckout(c, { ...form, problem: describeProblems(input.error) }, 400);
    const result = await buyCart(db, cards, c.get('visitor'), { ...input.data, accountId: account.id });
    switch (result.kind) {
      case 'placed':
        return c.redirect(`/orders?placed=${result.orderId}`, 303);
      case 'sold-out':
        return showCheckout(
          c,
          {
            ...form,
            problem: 'Somebody was faster: something in your cart is sold out. Nothing was charged.',
          },
          409,
        );
      case 'declined':
        return showCheckout(
          c,
          { orderKey: crypto.randomUUID(), shipTo: form.shipTo, problem: result.reason },
          402,
        );
      case 'rejected':
        return showCheckout(c, { ...form, problem: result.reason }, 422);
    }
  });
}

async function showCheckout(
  c: ShopContext,
  form: { readonly orderKey: string; readonly shipTo: string; readonly problem?: string },
  status: 200 | 400 | 402 | 409 | 422 = 200,
): Promise<Response> {
  const { account, session, cartId, carts } = c.get('visitor');
  if (account === null) return c.redirect('/sign-in?next=/checkout', 303);
  const cart = await carts.read(session, cartId);
  if (cart.lines.length === 0) return show(c, { title: 'Cart', body: renderCartPage(cart) });
  return show(c, { title: 'Checkout', body: renderCheckoutPage(cart, account, form), status });
}

function addAccountPages(web: Hono<ShopEnv>): void {
  web.get('/orders', async (c) => {
    const { account, session } = c.get('visitor');
    if (account === null) return c.redirect('/sign-in?next=/orders', 303);
    const placed = productIdInput.safeParse(c.req.query('placed'));
    const orders = await listOrders(session, account.id);
    return show(c, {
      title: 'My orders',
      showsOrders: true,
      body: renderOrdersPage(orders, placed.success ? placed.data : null),
    });
  });
  web.get('/account', async (c) => {
    const { account } = c.get('visitor');
    if (account === null) return c.redirect('/sign-in', 303);
    return show(c, { title: 'Account', body: renderAccountPage(account) });
  });
  web.get('/sign-in', (c) =>
    show(c, { title: 'Sign in', body: renderSignInPage('sign-in', { next: readNext(c.req.query('next')) }) }),
  );
  web.get('/sign-up', (c) =>
    show(c, {
      title: 'Create an account',
      body: renderSignInPage('sign-up', { next: readNext(c.req.query('next')) }),
    }),
  );
  web.post('/sign-in', (c) => handleSignIn(c));
  web.post('/sign-up', (c) => handleSignUp(c));
  web.post('/sign-out', async (c) => {
    const secret = forgetSignIn(c);
    if (secret !== undefined) await signOut(c.get('visitor').session, secret);
    return c.redirect('/', 303);
  });
}

async function handleSignIn(c: ShopContext): Promise<Response> {
  const { session } = c.get('visitor');
  const form = await c.req.parseBody();
  const next = readNext(form['next']);
  const input = signInInput.safeParse(form);
  const account = input.success ? await findByPassword(session, input.data.email, input.data.password) : null;
  if (account === null) {
    const body = renderSignInPage('sign-in', {
      next,
      email: String(form['email'] ?? ''),
      problem: 'The address or the password is not right.',
    });
    return show(c, { title: 'Sign in', body, status: 401 });
  }
  rememberSignIn(c, await signIn(session, account.id));
  return c.redirect(next, 303);
}

async function handleSignUp(c: ShopContext): Promise<Response> {
  const { session } = c.get('visitor');
  const form = await c.req.parseBody();
  const next = readNext(form['next']);
  const refuse = (problem: string, status: 400 | 409 = 400): Promise<Response> => {
    const typed = { next, email: String(form['email'] ?? ''), name: String(form['name'] ?? '') };
    return show(c, {
      title: 'Create an account',
      body: renderSignInPage('sign-up', { ...typed, problem }),
      status,
    });
  };
  const input = accountInput.safeParse(form);
  if (!input.success) return refuse(describeProblems(input.error));
  const account = await createAccount(session, input.data);
  if (account === null) return refuse('There is an account with this address already. Sign in instead.', 409);
  rememberSignIn(c, await signIn(session, account.id));
  return c.redirect(next, 303);
}

/** Only a path of this shop: a link must not send people elsewhere after they signed in. */
function readNext(value: unknown): string {
  return typeof value === 'string' && /^\/(?![/\\])[\w\-/?=&]*$/.test(value) ? value : '/';
}

function readId(c: ShopContext): number {
  const id = productIdInput.safeParse(c.req.param('id'));
  if (id.success) return id.data;
  throw new HTTPException(404, { message: 'There is no such product.' });
}
