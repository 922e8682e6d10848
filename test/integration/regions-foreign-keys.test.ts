import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { defineRegions } from '../../src/multi-leader/index.ts';
import { readShapes } from '../../src/multi-leader/tables/shape.ts';
import { until } from './fixture.ts';
import { RegionServers } from './region-servers.ts';

const SCHEMA = `
CREATE TABLE orders (id int PRIMARY KEY, customer text);
ALTER TABLE orders REPLICA IDENTITY FULL;
CREATE TABLE order_items (id int PRIMARY KEY, order_id int REFERENCES orders, what text);
CREATE TABLE albums (id int PRIMARY KEY, name text);
CREATE TABLE photos (id int PRIMARY KEY, album_id int NOT NULL REFERENCES albums ON DELETE CASCADE);
CREATE TABLE comments (id int PRIMARY KEY, photo_id int NOT NULL REFERENCES photos ON DELETE CASCADE);
`;
const NAMES = ['eu', 'us', 'ap'];
const definition = defineRegions({
  foreignKeys: { 'order_items.order_id': 'restore-parent', 'public.photos.album_id': 'delete-orphan' },
});

describe('foreign keys over regions', () => {
  let servers: RegionServers;
  beforeAll(async () => {
    servers = await RegionServers.start(NAMES, SCHEMA, definition);
  });
  afterAll(async () => servers?.[Symbol.asyncDispose]());

  const untilAll = (sql: string, wanted: readonly unknown[]): Promise<true> =>
    until(
      `all answer ${JSON.stringify(wanted)} to ${sql}`,
      async () => {
        const found = await Promise.all(servers.regions.map(({ client }) => client.query(sql)));
        return found.every(({ rows }) => JSON.stringify(rows) === JSON.stringify(wanted));
      },
      30_000,
    );

  const untilNoOrphans = (): Promise<true> =>
    until(
      'no region waits for a parent',
      async () => {
        const all = await Promise.all(servers.regions.map(({ region }) => region.status()));
        return all.every(({ orphans }) => orphans === 0);
      },
      30_000,
    );

  async function expectEqual(): Promise<void> {
    const comparison = await servers.compare();
    if (!comparison.isEqual)
      expect.fail(`${JSON.stringify(comparison.differences, null, 1)}\n${await servers.describe()}`);
  }

  it('bring back an order that one region deleted while another one added to it', async () => {
    await servers.at('eu').client.query(`INSERT INTO orders VALUES (1, 'Ada'), (2, 'Bob')`);
    await untilAll('SELECT count(*)::int AS n FROM orders', [{ n: 2 }]);
    await servers.setAllCut(true);
    await servers.at('eu').client.query(`UPDATE orders SET customer = 'Ada L.' WHERE id = 1`);
    await servers.at('eu').client.query('DELETE FROM orders');
    await servers.at('us').client.query(`INSERT INTO order_items VALUES (10, 1, 'lamp')`);
    await servers.at('ap').client.query(`INSERT INTO order_items VALUES (11, 1, 'chair')`);
    await servers.setAllCut(false);
    await untilAll('SELECT * FROM orders', [{ id: 1, customer: 'Ada L.' }]);
    await untilNoOrphans();
    await untilAll(
      `SELECT table_name, kind, decision, result_row->>'customer' AS customer FROM lockstep_regions.conflicts`,
      [
        {
          table_name: 'public.order_items',
          kind: 'parent-delete/write',
          decision: 'parent-restored',
          customer: 'Ada L.',
        },
      ],
    );
    await expectEqual();
    // A foreign key as ever.
    await expect(servers.at('eu').client.query('DELETE FROM orders')).rejects.toMatchObject({
      code: '23503',
    });
  });

  it('delete a photo whose album is gone, and what belongs to it, and log what was deleted', async () => {
    const count = `SELECT (SELECT count(*) FROM albums)::int AS albums, (SELECT count(*) FROM photos)::int AS photos,
      (SELECT count(*) FROM comments)::int AS comments`;
    await servers.at('us').client.query(`INSERT INTO albums VALUES (1, 'a'), (2, 'b')`);
    await untilAll(count, [{ albums: 2, photos: 0, comments: 0 }]);
    await servers.setAllCut(true);
    await servers.at('us').client.query('DELETE FROM albums WHERE id = 1');
    await servers.at('eu').client.query('INSERT INTO photos VALUES (10, 1), (20, 2)');
    await servers.at('eu').client.query('INSERT INTO comments VALUES (100, 10), (200, 20)');
    await servers.setAllCut(false);
    await untilAll(count, [{ albums: 1, photos: 1, comments: 1 }]);
    await untilNoOrphans();
    await untilAll(`SELECT written_row FROM lockstep_regions.conflicts WHERE decision = 'orphan-deleted'`, [
      { written_row: { id: '10', album_id: '1' } },
    ]);
    await expectEqual();
  });

  it('wait for a parent that is on its way', async () => {
    await servers.setCut('eu', 'ap', true);
    await servers.at('eu').client.query(`INSERT INTO albums VALUES (3, 'c')`);
    await until('us has it', async () => {
      const { rowCount } = await servers.at('us').client.query('SELECT FROM albums WHERE id = 3');
      return rowCount === 1;
    });
    await servers.at('us').client.query('INSERT INTO photos VALUES (30, 3)');
    await until('ap has the photo without its album', async () => {
      return (await servers.at('ap').region.status()).orphans === 1;
    });
    await servers.setCut('eu', 'ap', false);
    await untilNoOrphans();
    await untilAll('SELECT id FROM photos ORDER BY id', [{ id: 20 }, { id: 30 }]);
    await expectEqual();
  });

  it('are refused where they could not hold', async () => {
    const { client } = servers.at('eu');
    for (const [foreignKeys, sentence] of [
      [{ 'comments.id': 'delete-orphan' }, 'comments.id in foreignKeys is no foreign key of one column'],
      [{ 'photos.album_id': 'restore-parent' }, 'REPLICA IDENTITY FULL'],
    ] as const) {
      await expect(readShapes(client, { foreignKeys })).rejects.toThrow(sentence);
    }
  });
});
