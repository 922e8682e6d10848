import { counter, defineRegions, lastWriteWins } from '../../src/multi-leader/index.ts';
import type { RegionsDefinition } from '../../src/multi-leader/index.ts';

/**
 * The shop in several regions. Two people may edit a product's name and its price in two regions, and reviews add up; of
 * all else the last write of a row wins. The id by which a browser tells one database from another is not shared.
 */
const regions: RegionsDefinition = defineRegions({
  tables: { products: { '*': lastWriteWins(), review_count: counter(), rating_total: counter() } },
  except: ['shop_identity'],
});

export default regions;
