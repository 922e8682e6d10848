import { createRandom } from './random.ts';
import type { Random } from './random.ts';
import { CATEGORIES, CLOSINGS, FIRST_NAMES, OPENINGS, SERIES, TITLES } from './words.ts';
import type { CategoryWords, Kind } from './words.ts';

export interface SeedProduct {
  readonly id: number;
  readonly sku: string;
  readonly name: string;
  readonly category: string;
  readonly description: string;
  readonly priceCents: number;
  readonly art: string;
  readonly stock: number;
  readonly reviewCount: number;
  readonly ratingTotal: number;
}

export interface SeedReview {
  readonly id: number;
  readonly productId: number;
  readonly author: string;
  readonly rating: number;
  readonly title: string;
  readonly body: string;
  readonly daysAgo: number;
}

export interface CatalogueSize {
  readonly products: number;
  readonly reviews: number;
}

export const FULL_SIZE: CatalogueSize = { products: 10_000, reviews: 100_000 };

/** Position, rating and seed of one review: enough to count ratings before any text is written. */
interface RatingPlan {
  readonly productId: number;
  readonly rating: number;
}

export interface Catalogue {
  readonly products: readonly SeedProduct[];
  /** Reviews with ids from `firstId` on, at most `limit`. */
  reviews(firstId: number, limit: number): SeedReview[];
}

/** Makes up a catalogue. The same seed and size give the same one, and any slice of it alone. */
export function createCatalogue(seed: number, size: CatalogueSize = FULL_SIZE): Catalogue {
  const plans = planRatings(createRandom(seed ^ 0x5eed), size);
  const counts = new Array<number>(size.products + 1).fill(0);
  const totals = new Array<number>(size.products + 1).fill(0);
  for (const { productId, rating } of plans) {
    counts[productId] = (counts[productId] ?? 0) + 1;
    totals[productId] = (totals[productId] ?? 0) + rating;
  }
  const names = new Set<string>();
  const random = createRandom(seed);
  const products = Array.from({ length: size.products }, (_, index): SeedProduct => {
    const id = index + 1;
    return createProduct(random, id, names, counts[id] ?? 0, totals[id] ?? 0);
  });
  return {
    products,
    reviews: (firstId, limit) =>
      plans.slice(firstId - 1, firstId - 1 + limit).map((plan, index) => {
        const id = firstId + index;
        const product = products[plan.productId - 1];
        return createReview(createRandom(seed + id * 7919), id, plan, product?.category ?? '');
      }),
  };
}

function createProduct(
  random: Random,
  id: number,
  names: Set<string>,
  reviewCount: number,
  ratingTotal: number,
): SeedProduct {
  const category = random.pick(CATEGORIES);
  let kind = random.pick(category.kinds);
  let material = random.pick(category.materials);
  let name = `${random.pick(SERIES)} ${material} ${kind.noun}`;
  for (let attempt = 0; names.has(name) && attempt < 50; attempt += 1) {
    kind = random.pick(category.kinds);
    material = random.pick(category.materials);
    name = `${random.pick(SERIES)} ${material} ${kind.noun}`;
  }
  if (names.has(name)) name = `${name} No. ${id}`;
  names.add(name);
  return {
    id,
    sku: `${category.slug.slice(0, 3).toUpperCase()}-${String(id).padStart(5, '0')}`,
    name,
    category: category.slug,
    description: describe(random, category, kind, material),
    priceCents: choosePriceCents(random, kind),
    art: `${kind.form}-${random.int(0, 9999)}`,
    stock: random.int(40, 400),
    reviewCount,
    ratingTotal,
  };
}

function describe(random: Random, category: CategoryWords, kind: Kind, material: string): string {
  const first = random.int(0, category.details.length - 1);
  const second = (first + random.int(1, category.details.length - 1)) % category.details.length;
  const sentences = [category.details[first], category.details[second]].join(' ');
  return `${sentences.replaceAll('{it}', kind.noun.toLowerCase())} In ${material.toLowerCase()}.`;
}

/** Cheap ones are more frequent than dear ones, and prices end in .00, .50 or .90. */
function choosePriceCents(random: Random, kind: Kind): number {
  const [low, high] = kind.price;
  const units = Math.round(low + (high - low) * random.next() ** 1.7);
  return units * 100 + random.pick([0, 0, 50, 90]);
}

/** A few products are talked about a lot, most a little. */
function planRatings(random: Random, size: CatalogueSize): RatingPlan[] {
  const quality = Array.from({ length: size.products + 1 }, () => 3.4 + random.next() * 1.5);
  return Array.from({ length: size.reviews }, () => {
    const productId = 1 + ((Math.floor(random.next() ** 1.6 * size.products) * 7919) % size.products);
    const noise = (random.next() + random.next() + random.next() - 1.5) * 2.2;
    const rating = Math.min(5, Math.max(1, Math.round((quality[productId] ?? 4) + noise)));
    return { productId, rating };
  });
}

function createReview(random: Random, id: number, plan: RatingPlan, slug: string): SeedReview {
  const { productId, rating } = plan;
  const category = CATEGORIES.find((candidate) => candidate.slug === slug) ?? random.pick(CATEGORIES);
  const mood = rating >= 4 ? 'happy' : rating === 3 ? 'mixed' : 'unhappy';
  const opening = random.pick(OPENINGS).replace('{n}', String(random.int(2, 9)));
  const praise = random.pick(category.praise);
  const blame = random.pick(category.blame);
  const body =
    mood === 'happy'
      ? `${opening} ${praise}.`
      : mood === 'mixed'
        ? `${opening} ${praise}, but ${blame}.`
        : `${opening} ${blame}.`;
  return {
    id,
    productId,
    author: `${random.pick(FIRST_NAMES)} ${String.fromCharCode(random.int(65, 90))}.`,
    rating,
    title: random.pick(TITLES[rating] ?? ['Review']),
    body: `${body} ${random.pick(CLOSINGS[mood])}`,
    daysAgo: random.int(3, 720),
  };
}
