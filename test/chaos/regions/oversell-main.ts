// `npm run oversell -- --rounds 50`: sells 100 pieces in three regions that are cut apart in the middle, as often; exits with 1
// unless exactly 100 were sold each time.
import { parseArgs } from 'node:util';
import { RegionServers } from '../../integration/region-servers.ts';
import { SALE_DEFINITION, SALE_REGIONS, SALE_SCHEMA, sellOut } from './oversell.ts';
import type { SaleResult } from './oversell.ts';

const { values } = parseArgs({
  options: { rounds: { type: 'string', default: '50' }, json: { type: 'boolean', default: false } },
});
const results: SaleResult[] = [];
await using servers = await RegionServers.start(SALE_REGIONS, SALE_SCHEMA, SALE_DEFINITION);
for (let round = 1; round <= Number(values.rounds); round++) {
  const result = await sellOut(servers, round);
  results.push(result);
  const { sold, before, apart, after, violations } = result;
  if (!values.json)
    process.stdout.write(
      `round ${round}: ${sold[0]} sold (${before.join('+')} before, ${apart.join('+')} apart, ${after.join('+')} after)${violations.map((one) => `\n  ${one}`).join('')}\n`,
    );
}
const isExact = results.every(({ violations }) => violations.length === 0);
process.stdout.write(
  values.json
    ? `${JSON.stringify(results, null, 2)}\n`
    : `${results.length} rounds: ${isExact ? 'exactly 100 sold in each' : 'NOT exactly 100 sold in each'}\n`,
);
if (!isExact) process.exitCode = 1;
