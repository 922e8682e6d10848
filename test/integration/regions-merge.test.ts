import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { counter, defineRegions, lastWriteWins, max, set } from '../../src/multi-leader/index.ts';
import { createRandom } from '../../src/testing/simulation/random.ts';
import { until } from './fixture.ts';
import { RegionServers } from './region-servers.ts';

const SCHEMA = `
CREATE TABLE products (
  id int PRIMARY KEY, name text, note text, views int NOT NULL DEFAULT 0, price numeric(10, 2), tags text[] DEFAULT '{}',
  best int DEFAULT 0, label text GENERATED ALWAYS AS (name || '!') STORED
);
ALTER TABLE products REPLICA IDENTITY FULL;
CREATE TABLE plain (id int PRIMARY KEY, n int);
`;
const NAMES = ['eu', 'us', 'ap'];
const definition = defineRegions({
  tables: { products: { '*': lastWriteWins(), views: counter(), tags: set(), best: max() } },
});

describe('columns that merge', () => {
  let servers: RegionServers;
  beforeAll(async () => {
    servers = await RegionServers.start(NAMES, SCHEMA, definition);
  });
  afterAll(async () => servers?.[Symbol.asyncDispose]());

  async function expectEqual(): Promise<void> {
    const comparison = await servers.compare();
    if (!comparison.isEqual)
      expect.fail(`${JSON.stringify(comparison.differences, null, 1)}\n${await servers.describe()}`);
  }

  it('keep what each region did to another column, add differences, and unite sets', async () => {
    const [eu, us, ap] = NAMES.map((name) => servers.at(name).client);
    await eu?.query(
      `INSERT INTO products (id, name, note, price, tags) VALUES (1, 'lamp', 'x', 1.50, '{new}')`,
    );
    await until('it is everywhere', async () => {
      const found = await Promise.all([us, ap].map((client) => client?.query('SELECT FROM products')));
      return found.every((result) => result?.rowCount === 1);
    });
    await servers.setAllCut(true);
    await eu?.query(
      `UPDATE products SET name = 'lantern', views = views + 10, tags = tags || '{eu}', best = 7`,
    );
    await us?.query(
      `UPDATE products SET note = 'y, "z"', views = views + 5, tags = array_remove(tags, 'new')`,
    );
    await ap?.query(`UPDATE products SET price = 2.25, views = views - 1, tags = tags || '{ap}', best = 3`);
    await servers.setAllCut(false);
    await until('all is merged', async () => {
      const { rows } = await servers.at('us').client.query('SELECT views FROM products');
      return rows[0].views === 14;
    });
    await expectEqual();
    const { rows } = await servers.at('ap').client.query('SELECT * FROM products');
    expect(rows[0]).toMatchObject({
      name: 'lantern',
      note: 'y, "z"',
      views: 14,
      price: '2.25',
      best: 7,
      label: 'lantern!',
    });
    expect([...rows[0].tags].toSorted()).toEqual(['ap', 'eu']);
  });

  it('are logged alike in every region where one write had not seen the other', async () => {
    await servers.setAllCut(true);
    for (const { client, name } of servers.regions)
      await client.query('UPDATE products SET name = $1 WHERE id = 1', [`from ${name}`]);
    await servers.at('eu').client.query('DELETE FROM products WHERE id = 1');
    await servers.setAllCut(false);
    const logs = await until(
      'every region has settled',
      async () => {
        const all = await Promise.all(servers.regions.map(({ region }) => region.status()));
        if (!all.every(({ operations }) => operations === 0)) return false;
        return Promise.all(
          servers.regions.map(async ({ client }) => {
            const { rows } = await client.query(
              `SELECT table_name, key, kind, decision, later_region, before_row, seen_row, written_row, result_row
               FROM lockstep_regions.conflicts ORDER BY later_us, later_region, later_lsn`,
            );
            return rows;
          }),
        );
      },
      30_000,
    );
    expect(logs[0]?.length).toBeGreaterThan(2);
    expect(logs[1]).toEqual(logs[0]);
    expect(logs[2]).toEqual(logs[0]);
    await expectEqual();
  });

  it.each([1, 2])(
    'end with the same rows and exact counters after random writes and cuts (seed %i)',
    async (seed) => {
      const random = createRandom(seed);
      const below = (limit: number): number => Math.floor(random() * limit);
      await servers.at('eu').client.query(`INSERT INTO plain VALUES (${seed}, 0)`);
      await servers
        .at('eu')
        .client.query(
          `INSERT INTO products (id, name) SELECT ${seed} * 100 + i, 'p' FROM generate_series(0, 19) i`,
        );
      await expectEqual();
      let added = 0;
      const counted = `SELECT sum(views)::int AS views FROM products WHERE id BETWEEN ${seed} * 100 AND ${seed} * 100 + 9`;
      for (let i = 0; i < 150; i++) {
        await Promise.all(
          NAMES.map(async (name) => {
            const { client } = servers.at(name);
            const kind = below(10);
            const kept = seed * 100 + below(10);
            const coming = seed * 100 + 10 + below(10);
            if (kind < 5) {
              const by = below(9) - 4;
              added += by;
              await client.query('UPDATE products SET views = views + $2 WHERE id = $1', [kept, by]);
            } else if (kind < 7)
              await client.query('UPDATE products SET name = $2 WHERE id = $1', [kept, `${name}${i}`]);
            else if (kind < 8) await client.query('DELETE FROM products WHERE id = $1', [coming]);
            else
              await client.query(
                `INSERT INTO products (id, name, views) VALUES ($1, $2, 1)
               ON CONFLICT (id) DO UPDATE SET note = excluded.name, views = products.views + 1`,
                [coming, `${name}${i}`],
              );
          }),
        );
        if (i % 50 === 20) await servers.setAllCut(true);
        if (i % 50 === 40) await servers.setAllCut(false);
      }
      await expectEqual();
      for (const { client } of servers.regions)
        expect((await client.query(counted)).rows).toEqual([{ views: added }]);
    },
  );
});
