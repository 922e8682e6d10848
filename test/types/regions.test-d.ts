import { describe, expectTypeOf, it } from 'vitest';
import { counter, defineRegions, lastWriteWins } from '../../src/multi-leader/index.ts';
import type { RegionsDefinition } from '../../src/multi-leader/index.ts';

interface Schema {
  products: { id: number; name: string; views: number };
}

describe('defineRegions', () => {
  it('knows the tables and columns of a schema', () => {
    expectTypeOf(
      defineRegions<Schema>({ tables: { products: { '*': lastWriteWins(), views: counter() } } }),
    ).toEqualTypeOf<RegionsDefinition>();
    // @ts-expect-error there is no such column
    defineRegions<Schema>({ tables: { products: { veiws: counter() } } });
    // @ts-expect-error there is no such table
    defineRegions<Schema>({ tables: { product: {} } });
  });

  it('takes any without one', () => {
    expectTypeOf(
      defineRegions({ tables: { anything: { n: counter() } } }),
    ).toEqualTypeOf<RegionsDefinition>();
  });
});
