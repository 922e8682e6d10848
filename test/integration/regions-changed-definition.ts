import { counter, defineRegions, resolve } from '../../src/multi-leader/index.ts';
import type { RegionsDefinition } from '../../src/multi-leader/index.ts';

interface Schema {
  carts: { id: number; items: string[]; views: number };
}

/** The later cart stays, where the other definition unites them. */
const definition: RegionsDefinition = defineRegions<Schema>({
  tables: { carts: resolve(({ b, keep }) => keep(b), { views: counter() }) },
});

export default definition;
