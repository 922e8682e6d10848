import { counter, defineRegions, lastWriteWins, resolve } from '../../../src/multi-leader/index.ts';
import type { RegionsDefinition } from '../../../src/multi-leader/index.ts';

interface Schema {
  counted: { id: number; n: string };
  merged: { id: number; a: string; b: string; n: number };
  carts: { id: number; items: string[]; note: string };
}

const definition: RegionsDefinition = defineRegions<Schema>({
  tables: {
    counted: { '*': lastWriteWins(), n: counter() },
    merged: { n: counter() },
    // What was put into a cart stays in it.
    carts: resolve(({ a, b, keep, merge }) =>
      a === null || b === null
        ? keep(a ?? b)
        : merge({ items: [...new Set([...a.items, ...b.items])].toSorted() }),
    ),
  },
  foreignKeys: { 'items.order_id': 'restore-parent', 'photos.album_id': 'delete-orphan' },
});
export default definition;
