import { describe, expectTypeOf, it } from 'vitest';
import { counter, defineRegions, lastWriteWins, resolve } from '../../src/multi-leader/index.ts';
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

  it('knows the rows that a resolver is asked about, also of Kysely', () => {
    interface WithCarts extends Schema {
      carts: {
        id: { readonly __select__: number; readonly __insert__: number | undefined };
        items: string[];
      };
    }
    defineRegions<WithCarts>({
      tables: {
        carts: resolve(({ a, b, merge }) => {
          expectTypeOf(a).toEqualTypeOf<{ id: number; items: string[] } | null>();
          return merge({ items: [...(a?.items ?? []), ...(b?.items ?? [])] });
        }),
        products: resolve(({ b, keep }) => keep(b), { views: counter() }),
      },
    });
    // @ts-expect-error there is no such column
    defineRegions<WithCarts>({ tables: { carts: resolve(({ merge }) => merge({ itmes: [] })) } });
  });

  it('takes any without one', () => {
    expectTypeOf(
      defineRegions({ tables: { anything: { n: counter() } } }),
    ).toEqualTypeOf<RegionsDefinition>();
  });
});
