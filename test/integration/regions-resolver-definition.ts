import { counter, defineRegions, resolve } from '../../src/multi-leader/index.ts';
import type { RegionsDefinition } from '../../src/multi-leader/index.ts';

interface Row {
  id: number;
  v: string;
}

interface Schema {
  carts: { id: number; items: string[]; note: string | null; at: Date; views: number };
  throwing: Row;
  endless: Row;
  chance: Row;
  refused: Row;
}

/** One resolver that decides, and one for each way not to. */
const definition: RegionsDefinition = defineRegions<Schema>({
  tables: {
    carts: resolve(
      ({ a, b, keep, merge, park }) => {
        // Whoever has put something in it keeps the cart.
        if (a === null || b === null) return keep(a ?? b);
        if (b.note === 'ask' || a.note === 'ask') return park('somebody has to be asked');
        return merge({ items: [...new Set([...a.items, ...b.items])].toSorted(), note: a.note });
      },
      { views: counter() },
    ),
    throwing: resolve(() => {
      throw new Error('no idea');
    }),
    endless: resolve(({ merge }) => {
      for (let n = 0; n >= 0; n = (n + 1) % 1_000);
      return merge();
    }),
    chance: resolve(({ merge }) => merge({ v: `chance ${Math.random()}` })),
    refused: resolve(({ merge }) => merge({ v: 'much too long for its column' })),
  },
});

export default definition;
