import { TEST_CARD } from '../card-provider.ts';
import type { CardProvider } from '../card-provider.ts';
import { findProduct, listProducts, SORTS } from '../catalog.ts';
import type { CheckoutResult } from '../checkout.ts';
import type { ShopDatabase, ShopWriter } from '../database.ts';
import { listOrders } from '../orders.ts';
import { buy } from '../purchase.ts';
import { listReviews, writeReview } from '../reviews.ts';
import { createRandom } from '../seed/random.ts';
import type { Random } from '../seed/random.ts';
import { CATEGORIES } from '../seed/words.ts';
import { settle } from '../settle.ts';
import { orderKey } from './edition.ts';
import type { Edition } from './edition.ts';
import type { Figures } from './figures.ts';

export interface SaleWorld {
  readonly db: ShopDatabase;
  /** Whether each shopper has a session; else all share the pool's, and wait for each other's writes. */
  readonly hasSessions: boolean;
  readonly cards: CardProvider;
  readonly edition: Edition;
  readonly seed: number;
  readonly figures: Figures;
  /** Order keys that a buyer was told are placed. */
  readonly acknowledged: Set<string>;
  /** How long a buyer keeps asking after a failed attempt. */
  readonly patienceMs: number;
  readonly onSold: () => void;
  readonly onError: (error: unknown) => void;
}

interface Visit {
  readonly world: SaleWorld;
  readonly index: number;
  readonly accountId: number;
  readonly random: Random;
  readonly session: ShopWriter;
}

/** How likely a shopper who came too late buys something else, and how likely anybody writes a review. */
const CONSOLATION_SHARE = 0.45;
const REVIEW_SHARE = 0.35;

/**
 * One visit: look around, try for a limited piece, look at "my orders" right after, perhaps buy something
 * else, perhaps write a review. What the shopper wants depends on seed and index alone.
 */
export async function visitShop(world: SaleWorld, index: number): Promise<void> {
  const accountId = world.edition.accountIds[index];
  if (accountId === undefined) throw new RangeError(`There is no account for shopper ${index}.`);
  const random = createRandom(world.seed * 1_000_003 + index);
  const session = world.hasSessions ? world.db.session() : world.db;
  const visit: Visit = { world, index, accountId, random, session };
  const wantsConsolation = random.next() < CONSOLATION_SHARE;
  const wantsReview = random.next() < REVIEW_SHARE;
  try {
    await browse(visit);
    const result = await purchase(visit, world.edition.productId, 0);
    if (result.kind === 'sold-out' && wantsConsolation) {
      await purchase(visit, random.int(1, Math.max(1, world.edition.catalogueSize)), 1);
    }
    if (wantsReview) await review(visit);
  } catch (error) {
    world.figures.count('failures');
    world.onError(error);
  } finally {
    world.figures.count('shoppersDone');
  }
}

async function browse({ world, random, session }: Visit): Promise<void> {
  const { db, edition } = world;
  const pages = random.int(1, 2);
  for (let page = 0; page < pages; page += 1) {
    const request = {
      category: random.pick(CATEGORIES).slug,
      sort: random.pick(SORTS),
      page: random.int(1, 4),
    };
    await read(world, () => listProducts(db, request));
  }
  await read(world, () => findProduct(db, edition.productId));
  await read(world, () => listReviews(session, edition.productId, 8));
}

async function read<T>(world: SaleWorld, work: () => Promise<T>): Promise<T> {
  const answer = await settle(work, {
    deadlineMs: world.patienceMs,
    onRetry: () => world.figures.count('retries'),
  });
  world.figures.count('reads');
  return answer;
}

async function purchase(visit: Visit, productId: number, number: number): Promise<CheckoutResult> {
  const { world, accountId, session } = visit;
  const { db, cards, edition, figures, patienceMs } = world;
  const key = orderKey(edition.runId, visit.index, number);
  const request = {
    orderKey: key,
    accountId,
    items: [{ productId, quantity: 1 }],
    shipTo: `Shopper ${visit.index}, Northport`,
    card: TEST_CARD,
  };
  const startedAtMs = performance.now();
  figures.orderStarted(startedAtMs);
  let result: CheckoutResult | null = null;
  try {
    result = await buy(db, session, cards, request, {
      deadlineMs: patienceMs,
      onRetry: () => figures.count('retries'),
    });
  } finally {
    if (result?.kind !== 'placed') figures.orderRefused();
  }
  if (result.kind === 'sold-out') figures.count('soldOut');
  if (result.kind === 'placed') {
    figures.orderPlaced(startedAtMs, performance.now());
    world.acknowledged.add(key);
    if (productId === edition.productId) {
      figures.count('limitedSold');
      world.onSold();
    }
    await lookAtOrders(visit, key);
  }
  return result;
}

/** A buyer who does not find the order that was just confirmed has seen the past. */
async function lookAtOrders({ world, session, accountId }: Visit, key: string): Promise<void> {
  const orders = await read(world, () => listOrders(session, accountId));
  if (!orders.some((order) => order.orderKey === key)) world.figures.count('staleViews');
}

async function review({ world, random, session, accountId, index }: Visit): Promise<void> {
  const productId =
    random.next() < 0.3 ? world.edition.productId : random.int(1, Math.max(1, world.edition.catalogueSize));
  const text = {
    rating: random.int(3, 5),
    title: 'From the holiday sale',
    body: 'Seen in the sale, and glad that I looked.',
  };
  const account = { id: accountId, name: `Shopper ${index}` };
  const write = (): Promise<boolean> => writeReview(session, { productId, account, ...text });
  await settle(write, { deadlineMs: world.patienceMs, onRetry: () => world.figures.count('retries') });
  world.figures.count('reviews');
}
