import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import { defineRegions, escrow } from '../../../src/multi-leader/index.ts';
import type { RegionsDefinition } from '../../../src/multi-leader/index.ts';
import { until } from '../../integration/fixture.ts';
import type { RegionServers } from '../../integration/region-servers.ts';

export const SALE_REGIONS: readonly string[] = ['eu', 'us', 'ap'];
export const SALE_SCHEMA = `
CREATE TABLE stock (id int PRIMARY KEY, name text, quantity int NOT NULL CHECK (quantity >= 0));
ALTER TABLE stock REPLICA IDENTITY FULL;
CREATE TABLE sales (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), product int NOT NULL, region text NOT NULL);
`;
export const SALE_DEFINITION: RegionsDefinition = defineRegions({
  tables: { stock: { quantity: escrow({ min: 0 }) } },
});
const PIECES = 100;
/** Between two purchases: one region sells faster than the others, and is given more. */
const PACES_MS: readonly number[] = [3, 15, 40];
const PATIENCE_MS = 120_000;
const BUY = `WITH bought AS (UPDATE stock SET quantity = quantity - 1 WHERE id = $1 AND quantity > 0 RETURNING id)
  INSERT INTO sales (product, region) SELECT id, $2 FROM bought`;

export interface SaleResult {
  /** Pieces sold, as each region counts them. */
  readonly sold: readonly number[];
  /** By region, before the links were cut, while they were, and after. */
  readonly before: readonly number[];
  readonly apart: readonly number[];
  readonly after: readonly number[];
  readonly violations: readonly string[];
}

/** Sells 100 pieces in three regions at once, cuts them all apart in the middle, and heals them once nobody can sell. */
export async function sellOut(servers: RegionServers, product: number): Promise<SaleResult> {
  const violations: string[] = [];
  // Another region is the fast one each time, and the cut comes at another moment.
  const buyers = SALE_REGIONS.map(
    (name, index) => new Buyer(servers.at(name).url, name, product, PACES_MS[(index + product) % 3] ?? 0),
  );
  const soldAtCut = 20 + ((product * 17) % 60);
  try {
    await servers.at('eu').client.query('INSERT INTO stock VALUES ($1, $2, $3)', [product, 'lamp', PIECES]);
    await until(
      'every region holds a part',
      async () => {
        const held = await Promise.all(SALE_REGIONS.map((name) => heldIn(servers, name, product)));
        return held.every((part) => part > 0);
      },
      PATIENCE_MS,
    );
    for (const buyer of buyers) buyer.start();
    await until('some are sold', async () => sum(buyers) >= soldAtCut, PATIENCE_MS);
    const before = buyers.map(({ bought }) => bought);
    await setApart(servers, true);
    await until(
      'no region has anything to sell',
      async () => buyers.every(({ refusals }) => refusals > 5),
      PATIENCE_MS,
    );
    const apart = buyers.map(({ bought }, index) => bought - (before[index] ?? 0));
    await setApart(servers, false);
    await until('all are sold', async () => sum(buyers) >= PIECES, PATIENCE_MS).catch((error: unknown) =>
      violations.push((error as Error).message),
    );
    const after = buyers.map(({ bought }, index) => bought - (before[index] ?? 0) - (apart[index] ?? 0));
    await Promise.all(buyers.map((buyer) => buyer.stop()));
    const comparison = await servers.compare(PATIENCE_MS);
    if (!comparison.isEqual) violations.push(`regions differ: ${JSON.stringify(comparison.differences)}`);
    const sold = await Promise.all(SALE_REGIONS.map((name) => soldIn(servers, name, product)));
    if (sold.some((count) => count !== PIECES) || sum(buyers) !== PIECES)
      violations.push(`of ${PIECES} pieces were sold: ${sold.join(', ')}; buyers have ${sum(buyers)}`);
    return { sold, before, apart, after, violations };
  } finally {
    await Promise.all(buyers.map((buyer) => buyer.stop()));
  }
}

async function setApart(servers: RegionServers, isApart: boolean): Promise<void> {
  await servers.setCut('eu', 'us', isApart);
  await servers.setCut('us', 'ap', isApart);
  await servers.setCut('eu', 'ap', isApart);
}

const sum = (buyers: readonly Buyer[]): number => buyers.reduce((total, { bought }) => total + bought, 0);

async function heldIn(servers: RegionServers, name: string, product: number): Promise<number> {
  const { rows } = await servers
    .at(name)
    .client.query<{ quantity: number }>('SELECT quantity FROM stock WHERE id = $1', [product]);
  return rows[0]?.quantity ?? 0;
}

async function soldIn(servers: RegionServers, name: string, product: number): Promise<number> {
  const { rows } = await servers
    .at(name)
    .client.query<{ sold: number }>('SELECT count(*)::int AS sold FROM sales WHERE product = $1', [product]);
  return rows[0]?.sold ?? 0;
}

/** Buys one piece after the other in one region, until it is stopped. */
class Buyer {
  readonly #url: string;
  readonly #region: string;
  readonly #product: number;
  readonly #paceMs: number;
  bought = 0;
  /** How often in a row there was nothing to sell. */
  refusals = 0;
  #isStopped = false;
  #running: Promise<void> = Promise.resolve();

  constructor(url: string, region: string, product: number, paceMs: number) {
    this.#url = url;
    this.#region = region;
    this.#product = product;
    this.#paceMs = paceMs;
  }

  start(): void {
    this.#running = this.#run();
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    await this.#running;
  }

  async #run(): Promise<void> {
    const client = new pg.Client({ connectionString: this.#url });
    await client.connect();
    try {
      while (!this.#isStopped) {
        const { rowCount } = await client.query(BUY, [this.#product, this.#region]);
        if (rowCount === 1) this.bought++;
        this.refusals = rowCount === 1 ? 0 : this.refusals + 1;
        await delay(rowCount === 1 ? this.#paceMs : 50);
      }
    } finally {
      await client.end();
    }
  }
}
