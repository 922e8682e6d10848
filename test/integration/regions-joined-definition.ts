import { counter, defineRegions, escrow, lastWriteWins } from '../../src/multi-leader/index.ts';
import type { RegionsDefinition } from '../../src/multi-leader/index.ts';

const regions: RegionsDefinition = defineRegions({
  tables: {
    products: { '*': lastWriteWins(), views: counter() },
    stock: { quantity: escrow({ min: 0 }) },
  },
});

export default regions;
