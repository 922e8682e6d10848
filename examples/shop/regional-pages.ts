import { Hono } from 'hono';
import { HTTPException } from 'hono/http-exception';
import { z } from 'zod';
import { connect } from '../../src/index.ts';
import type { ShopDatabase } from './database.ts';
import { onlyThisMachine } from './doors/doors.ts';
import { productIdInput } from './input.ts';
import type { ShopEnv } from './visitor.ts';
import { renderRegionsPage } from './web/regions-page.ts';
import type { RegionalProduct } from './web/regions-page.ts';
import { show } from './web/routes.ts';

/** Every region's database by the region's name. */
export type RegionDatabases = ReadonlyMap<string, ShopDatabase>;

const regionUrls: z.ZodType<Record<string, string>> = z.record(
  z.string().regex(/^[a-z][a-z0-9]{0,15}$/),
  z.string().startsWith('postgresql://'),
);

const editInput: z.ZodType<{ readonly name: string; readonly priceCents: number }> = z.object({
  name: z.string().trim().min(1).max(120),
  priceCents: z.coerce.number().int().min(1).max(100_000_000),
});

/** Opens what LOCKSTEP_REGION_URLS names, as `lockstep dev --regions` sets it; none without it. */
export function openRegions(text: string | undefined): RegionDatabases {
  if (text === undefined) return new Map();
  const regions = new Map<string, ShopDatabase>();
  for (const [region, url] of Object.entries(regionUrls.parse(JSON.parse(text)))) {
    const db = connect(url);
    db.on('error', () => undefined);
    regions.set(region, db);
  }
  return regions;
}

/** The page on which one product is edited in several regions at once. */
export function createRegionalPages(regions: RegionDatabases): Hono<ShopEnv> {
  const pages = new Hono<ShopEnv>();
  pages.use('/regions/*', onlyThisMachine);
  pages.get('/regions', async (c) => {
    const parsed = productIdInput.safeParse(c.req.query('product') ?? 1);
    if (!parsed.success) return c.redirect('/regions');
    const found = await Promise.all([...regions].map(([region, db]) => readProduct(region, db, parsed.data)));
    return show(c, { title: 'Regions', body: renderRegionsPage(found, parsed.data) });
  });
  pages.post('/regions/:region/products/:id', async (c) => {
    const db = regions.get(c.req.param('region'));
    const id = productIdInput.safeParse(c.req.param('id'));
    const edit = editInput.safeParse(await c.req.parseBody());
    if (db === undefined || !id.success)
      throw new HTTPException(404, { message: 'There is no such region or product.' });
    if (!edit.success)
      throw new HTTPException(400, { message: 'A product needs a name and a price in cents.' });
    await db.query({
      text: `UPDATE products SET name = $2, price_cents = $3 WHERE id = $1 AND (name, price_cents) <> ($2, $3)`,
      values: [id.data, edit.data.name, edit.data.priceCents],
    });
    return c.redirect(`/regions?product=${id.data}`, 303);
  });
  return pages;
}

async function readProduct(region: string, db: ShopDatabase, id: number): Promise<RegionalProduct> {
  try {
    const { rows } = await db.query<{ id: string; name: string; priceCents: number }>({
      text: 'SELECT id, name, price_cents AS "priceCents" FROM products WHERE id = $1',
      values: [id],
    });
    return { region, product: rows[0] ?? null, isUp: true };
  } catch {
    return { region, product: null, isUp: false };
  }
}
