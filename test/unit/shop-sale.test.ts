import { expect, test } from 'vitest';
import { createCardProvider, TEST_CARD } from '../../examples/shop/card-provider.ts';
import { toSearchQuery } from '../../examples/shop/catalog.ts';
import { Figures, percentile } from '../../examples/shop/sale/figures.ts';
import { findBrokenRules } from '../../examples/shop/sale/run.ts';
import { createCatalogue } from '../../examples/shop/seed/catalogue.ts';
import { settle } from '../../examples/shop/settle.ts';
import { ART_FORMS, renderArt } from '../../examples/shop/web/art.ts';
import { LockstepError } from '../../src/index.ts';

test('the same seed gives the same catalogue, and any slice of its reviews alone', () => {
  const size = { products: 300, reviews: 2_000 };
  const first = createCatalogue(5, size);
  const second = createCatalogue(5, size);
  expect(second.products).toEqual(first.products);
  expect(second.reviews(1_501, 100)).toEqual(first.reviews(1, 2_000).slice(1_500, 1_600));
  expect(createCatalogue(6, size).products).not.toEqual(first.products);
  expect(new Set(first.products.map((product) => product.name)).size).toBe(300);
});

test('counts and totals of ratings on products are those of their reviews', () => {
  const catalogue = createCatalogue(5, { products: 50, reviews: 1_000 });
  for (const product of catalogue.products) {
    const ratings = catalogue
      .reviews(1, 1_000)
      .filter((review) => review.productId === product.id)
      .map((review) => review.rating);
    expect(product.reviewCount).toBe(ratings.length);
    expect(product.ratingTotal).toBe(ratings.reduce((sum, rating) => sum + rating, 0));
  }
});

test('every form can be drawn, the same name alike, and other names are refused', () => {
  for (const form of ART_FORMS) {
    expect(renderArt(`${form}-12`)).toContain('<svg');
    expect(renderArt(`${form}-12`)).toBe(renderArt(`${form}-12`));
    expect(renderArt(`${form}-12`)).not.toMatch(/NaN|undefined/);
  }
  expect(renderArt('sofa-1')).toBeNull();
  expect(renderArt('mug-<script>')).toBeNull();
});

test('a payment key is charged once, and declined cards are refused', async () => {
  const cards = createCardProvider({ seed: 3 });
  const first = await cards.authorize('key', TEST_CARD, 500);
  expect(await cards.authorize('key', TEST_CARD, 500)).toEqual(first);
  await expect(cards.authorize('key', TEST_CARD, 501)).rejects.toThrow(/500 cents before/);
  expect(await createCardProvider({ seed: 3 }).authorize('key', TEST_CARD, 500)).toEqual(first);
  const declined = { ...TEST_CARD, number: '4000 0000 0000 0002' };
  expect(await cards.authorize('other', declined, 500)).toMatchObject({ kind: 'declined' });
  expect(await cards.authorize('third', { ...TEST_CARD, number: '4242424242424241' }, 500)).toMatchObject({
    kind: 'declined',
  });
});

test('search words cannot break out of the query', () => {
  expect(toSearchQuery("oak | ! 'lamp")).toBe('oak:* & lamp:*');
  expect(toSearchQuery(' &|! ')).toBeNull();
});

test('unavailability is the longest wait without an acknowledgement, from the fault on', () => {
  const figures = new Figures(0);
  figures.orderStarted(0);
  figures.orderPlaced(0, 900);
  figures.orderStarted(5_000);
  figures.orderPlaced(5_000, 5_010);
  expect(figures.snapshot(5_010).unavailableMs).toBe(900);
  figures.markFault();
  figures.orderStarted(6_000);
  figures.orderStarted(6_100);
  figures.orderPlaced(6_000, 6_400);
  figures.orderPlaced(6_100, 6_450);
  expect(figures.snapshot(7_000)).toMatchObject({ unavailableMs: 400, orders: 4 });
  expect(percentile([1, 2, 3, 4], 0.5)).toBe(2);
  expect(percentile([], 0.99)).toBe(0);
});

test('each broken rule of a sale is named', () => {
  const verdict = { sold: 100, oversold: 0, stockLeft: 0, acknowledgedLost: 0, duplicates: 0 };
  const facts = {
    edition: { runId: '', productId: 1, pieces: 100, accountIds: [], catalogueSize: 1 },
    killedLeader: null,
    wasKillWanted: false,
  };
  const seen = { staleViews: 0, failures: 0, shoppersDone: 500 };
  expect(findBrokenRules(verdict, facts, seen)).toEqual([]);
  expect(findBrokenRules({ ...verdict, sold: 101, oversold: 1 }, facts, seen)).toHaveLength(2);
  expect(findBrokenRules({ ...verdict, acknowledgedLost: 1 }, facts, seen)).toHaveLength(1);
  expect(findBrokenRules({ ...verdict, duplicates: 1 }, facts, seen)).toHaveLength(1);
  expect(findBrokenRules({ ...verdict, sold: 99, stockLeft: 1 }, facts, seen)).toHaveLength(1);
  expect(findBrokenRules(verdict, facts, { ...seen, staleViews: 1 })).toHaveLength(1);
  expect(findBrokenRules(verdict, { ...facts, wasKillWanted: true }, seen)).toHaveLength(1);
});

test('keyed work is asked for again after an unknown outcome, and other errors pass at once', async () => {
  let attempts = 0;
  const answer = await settle(async () => {
    attempts += 1;
    if (attempts < 3) throw new LockstepError('COMMIT_UNKNOWN', 'unknown', { outcome: 'unknown' });
    return 'placed';
  });
  expect([answer, attempts]).toEqual(['placed', 3]);
  const refused = settle(async () => {
    attempts += 1;
    throw Object.assign(new Error('duplicate'), { code: '23505' });
  });
  await expect(refused).rejects.toThrow('duplicate');
  expect(attempts).toBe(4);
});
