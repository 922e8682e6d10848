import { expect, test } from 'vitest';
import { runSale } from '../../examples/shop/sale/run.ts';
import { startTestCluster } from '../../src/testing/index.ts';

const CATALOGUE = { size: { products: 200, reviews: 1_000 } };

test('a sale through the loss of the leader sells every piece once and loses no acknowledged order', async () => {
  await using cluster = await startTestCluster();
  const calm = await runSale({
    url: cluster.url,
    shoppers: 150,
    concurrency: 32,
    pieces: 40,
    seed: 7,
    catalogue: CATALOGUE,
  });
  expect(calm).toMatchObject({
    sold: 40,
    oversold: 0,
    acknowledgedLost: 0,
    duplicates: 0,
    stockLeft: 0,
    staleViews: 0,
    broken: [],
  });
  const reads = Object.values(calm.readsByNode);
  expect(reads.filter((count) => count > 0).length).toBeGreaterThanOrEqual(2);

  const struck = await runSale({
    url: cluster.url,
    shoppers: 300,
    concurrency: 32,
    pieces: 60,
    seed: 8,
    catalogue: CATALOGUE,
    killLeader: async () => {
      const leader = await cluster.leader();
      await cluster.kill(leader);
      return leader;
    },
  });
  expect(struck, await cluster.logs()).toMatchObject({
    sold: 60,
    oversold: 0,
    acknowledgedLost: 0,
    duplicates: 0,
    stockLeft: 0,
    staleViews: 0,
    broken: [],
  });
  expect(struck.killedLeader).not.toBeNull();
  expect(struck.unavailableMs).toBeGreaterThan(0);
  expect(await cluster.leader()).not.toBe(struck.killedLeader);
});
