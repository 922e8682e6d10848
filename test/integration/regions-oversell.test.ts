import { expect, it } from 'vitest';
import { SALE_DEFINITION, SALE_REGIONS, SALE_SCHEMA, sellOut } from '../chaos/regions/oversell.ts';
import { RegionServers } from './region-servers.ts';

// More by hand: npm run oversell -- --rounds 50
it('three regions that are cut apart in the middle of a sale sell exactly what there is', async () => {
  await using servers = await RegionServers.start(SALE_REGIONS, SALE_SCHEMA, SALE_DEFINITION);
  const { sold, violations } = await sellOut(servers, 1);
  expect(violations).toEqual([]);
  expect(sold).toEqual([100, 100, 100]);
  // The rest of the row is shared as ever, and what is sold may come back.
  await servers.at('us').client.query(`UPDATE stock SET name = 'lantern', quantity = quantity + 10`);
  const comparison = await servers.compare();
  expect(comparison.differences).toEqual([]);
  const names = await Promise.all(
    servers.regions.map(({ client }) => client.query('SELECT name FROM stock')),
  );
  expect(names.map(({ rows }) => rows[0]?.name)).toEqual(['lantern', 'lantern', 'lantern']);
});
