import { Hono } from 'hono';
import type { Context } from 'hono';
import { HTTPException } from 'hono/http-exception';
import type { CasCollection, MapCollection, Quorum } from '../../src/leaderless/index.ts';
import { cas, map } from '../../src/leaderless/index.ts';
import { findProduct } from './catalog.ts';
import { ensureCart } from './visitor.ts';
import type { ShopEnv } from './visitor.ts';
import { renderDealPage } from './web/deal-page.ts';
import { show } from './web/routes.ts';

/** Whose the one piece is. */
export interface Claim {
  readonly cartId: string;
}

/** What a visitor looked at: one field for each product, so that two pages that load at once do not undo each other. */
export type Visit = Readonly<Record<string, number>>;

/** What the shop keeps on independent servers besides carts. */
export interface DealCollections {
  readonly deals: CasCollection<Claim>;
  readonly visits: MapCollection<Visit>;
}

const HOUR_MS = 3_600_000;
/** The deal goes through the first products of the catalogue, one an hour. */
const PRODUCTS = 24;
/** Pages that the deal's page reminds of, and how many are kept of a visitor. */
const SHOWN = 6;
const KEPT = 24;

export function openDeals(kept: Quorum): DealCollections {
  return {
    deals: kept.collection('deals', cas<Claim>()),
    visits: kept.collection('visits', map<Visit>(), { ttl: '7d' }),
  };
}

/** The deal of the hour: one piece, sold once without asking any leader. */
export function createDealPages({ deals, visits }: DealCollections): Hono<ShopEnv> {
  const pages = new Hono<ShopEnv>();
  pages.use('/products/:id', async (c, next) => {
    const { cartId } = c.get('visitor');
    const id = c.req.param('id');
    await next();
    // The page did not wait for it, and is shown without it.
    if (cartId !== null && c.res.status === 200) noteVisit(visits, cartId, id).catch(() => undefined);
  });
  pages.get('/deal', async (c) => {
    const { session, cartId } = c.get('visitor');
    const { key, productId } = dealOf(Date.now());
    const [product, claim, visit] = await Promise.all([
      findProduct(session, productId),
      deals.get(key),
      cartId === null ? null : visits.get(cartId, { level: 'one' }).catch(() => null),
    ]);
    if (product === null) throw new HTTPException(404, { message: 'There is no deal this hour.' });
    const seen = Object.entries(visit?.value ?? {})
      .toSorted(([, a], [, b]) => Number(b) - Number(a))
      .slice(0, SHOWN);
    const found = await Promise.all(seen.map(([id]) => findProduct(session, Number(id))));
    const owner = claim.value === undefined ? 'nobody' : claim.value.cartId === cartId ? 'you' : 'another';
    return show(c, {
      title: 'Deal of the hour',
      body: renderDealPage(
        product,
        owner,
        found.filter((one) => one !== null),
      ),
    });
  });
  pages.post('/deal', async (c) => {
    await claimDeal(c, deals);
    return c.redirect('/deal', 303);
  });
  pages.post('/api/deal', async (c) => c.json(await claimDeal(c, deals)));
  return pages;
}

/** Takes the oldest away when there are more than are kept, so that nobody fills the servers by looking at pages. */
async function noteVisit(visits: MapCollection<Visit>, cartId: string, id: string): Promise<void> {
  const { value = {} } = await visits.get(cartId, { level: 'one' });
  const others = Object.entries(value).filter(([field]) => field !== id);
  const oldest = others.toSorted(([, a], [, b]) => Number(b) - Number(a)).slice(KEPT - 1);
  const gone = Object.fromEntries(oldest.map(([field]) => [field, undefined]));
  await visits.set(cartId, { ...gone, [id]: Date.now() }, { level: 'accept' });
}

/** Whether the piece is the visitor's now. Whoever asks again gets the same answer. */
async function claimDeal(
  c: Context<ShopEnv>,
  deals: CasCollection<Claim>,
): Promise<{ readonly deal: string; readonly isYours: boolean }> {
  const cartId = ensureCart(c);
  const { key } = dealOf(Date.now());
  const result = await deals.create(key, { cartId });
  if (result.kind !== 'unknown') return { deal: key, isYours: result.value?.cartId === cartId };
  // It may be theirs: only the servers can tell, and afterwards it is certain.
  const settled = await deals.settle(result.operation);
  const isYours = settled === 'applied' || (await deals.get(key)).value?.cartId === cartId;
  return { deal: key, isYours };
}

function dealOf(nowMs: number): { readonly key: string; readonly productId: number } {
  const hour = Math.floor(nowMs / HOUR_MS);
  return { key: `hour-${hour}`, productId: (hour % PRODUCTS) + 1 };
}
