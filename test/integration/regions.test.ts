import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { until } from './fixture.ts';
import { RegionServers } from './region-servers.ts';

const SCHEMA = `
CREATE TABLE items (
  id int PRIMARY KEY, name text NOT NULL, price numeric, tags text[], at timestamptz DEFAULT now(),
  double_price numeric GENERATED ALWAYS AS (price * 2) STORED
);
CREATE TABLE pairs (a int, gone int, b text, note text, PRIMARY KEY (b, a));
ALTER TABLE pairs DROP COLUMN gone;
CREATE TYPE mood AS ENUM ('calm', 'wild');
CREATE TABLE moods (m mood PRIMARY KEY, n int);
CREATE TABLE marks (id uuid PRIMARY KEY);
CREATE TABLE numbered (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, who text);
CREATE TABLE local_only (x int);
`;
const NAMES = ['eu', 'us', 'ap'];
const WRITES = 600;

/** The same numbers for the same seed. */
function createRandom(seed: number): (limit: number) => number {
  let state = seed;
  return (limit) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 4_294_967_296) * limit);
  };
}

describe('three regions, each with a leader of its own', () => {
  let servers: RegionServers;
  beforeAll(async () => {
    servers = await RegionServers.start(NAMES, SCHEMA, { except: ['local_only'] });
  });
  afterAll(async () => servers?.[Symbol.asyncDispose]());

  async function expectEqual(): Promise<void> {
    const comparison = await servers.compare();
    if (!comparison.isEqual)
      expect.fail(`${JSON.stringify(comparison.differences, null, 1)}\n${await servers.describe()}`);
  }

  it('see what any of them writes', async () => {
    const [eu, us, ap] = NAMES.map((name) => servers.at(name).client);
    await eu?.query(`INSERT INTO items (id, name, price, tags) VALUES (1, 'lamp', 9.50, '{a,"b c",NULL}')`);
    await us?.query(`INSERT INTO pairs (a, b, note) VALUES (1, 'x', NULL)`);
    await ap?.query(`INSERT INTO moods VALUES ('wild', 1)`);
    await ap?.query(`INSERT INTO marks VALUES ('00000000-0000-0000-0000-000000000001')`);
    await expectEqual();
    await until('all rows are everywhere', async () => {
      for (const { client } of servers.regions) {
        const { rows } = await client.query(
          `SELECT (SELECT count(*) FROM items) + (SELECT count(*) FROM pairs) + (SELECT count(*) FROM moods) + (SELECT count(*) FROM marks) AS n`,
        );
        if (rows[0].n !== '4') return false;
      }
      return true;
    });
    const { rows } = await servers.at('ap').client.query('SELECT name, price, tags, double_price FROM items');
    expect(rows).toEqual([{ name: 'lamp', price: '9.50', tags: ['a', 'b c', null], double_price: '19.00' }]);
    await us?.query(`UPDATE items SET name = 'lantern', tags = NULL WHERE id = 1`);
    await ap?.query(`UPDATE moods SET m = 'calm', n = 2`);
    await eu?.query(`DELETE FROM pairs`);
    await until('the changes too', async () => {
      const { rows } = await servers
        .at('ap')
        .client.query(
          `SELECT (SELECT name FROM items) AS name, (SELECT count(*) FROM pairs) AS pairs, (SELECT string_agg(m::text, ',') FROM moods) AS moods`,
        );
      return rows[0].name === 'lantern' && rows[0].pairs === '0' && rows[0].moods === 'calm';
    });
    await expectEqual();
  });

  it('give numbers that no other gives', async () => {
    await Promise.all(
      servers.regions.map(({ client, name }) =>
        client.query('INSERT INTO numbered (who) SELECT $1 FROM generate_series(1, 50)', [name]),
      ),
    );
    await expectEqual();
    const { rows } = await servers
      .at('us')
      .client.query('SELECT who, count(*)::int AS n FROM numbered GROUP BY 1');
    expect(rows.map(({ n }) => n)).toEqual([50, 50, 50]);
  });

  it.each([1, 2, 3])('end with the same rows after random writes, cuts and heals (seed %i)', async (seed) => {
    const random = createRandom(seed);
    const write = async (name: string): Promise<void> => {
      const { client } = servers.at(name);
      const id = random(100);
      const kind = random(10);
      const note = `${name}-${random(1_000_000)}`;
      if (kind < 5)
        await client.query(
          `INSERT INTO items (id, name, price) VALUES ($1, $2, $3) ON CONFLICT (id) DO UPDATE SET name = excluded.name, price = excluded.price`,
          [id, note, random(1_000)],
        );
      else if (kind < 7) await client.query('UPDATE items SET name = $2 WHERE id = $1', [id, note]);
      else if (kind < 9) await client.query('DELETE FROM items WHERE id = $1', [id]);
      else
        await client.query(
          `INSERT INTO pairs (a, b, note) VALUES ($1, 'k', $2) ON CONFLICT (a, b) DO UPDATE SET note = excluded.note`,
          [id % 10, note],
        );
    };
    const links = [
      ['eu', 'us'],
      ['us', 'ap'],
      ['eu', 'ap'],
    ] as const;
    const cut = new Set<number>();
    for (let i = 0; i < WRITES; i++) {
      await Promise.all(NAMES.map(write));
      if (random(40) > 0) continue;
      const index = random(links.length);
      const [a, b] = links[index] ?? ['eu', 'us'];
      const willCut = !cut.has(index);
      await servers.setCut(a, b, willCut);
      if (willCut) cut.add(index);
      else cut.delete(index);
    }
    for (const index of cut) {
      const [a, b] = links[index] ?? ['eu', 'us'];
      await servers.setCut(a, b, false);
    }
    await expectEqual();
    const lost = await Promise.all(servers.regions.map(({ region }) => region.status()));
    expect(lost.flatMap(({ links }) => links).reduce((sum, link) => sum + link.lost, 0)).toBeGreaterThan(0);
  });

  it('forget versions and tombstones once nothing older can come', async () => {
    await until(
      'nothing is kept',
      async () => {
        const all = await Promise.all(servers.regions.map(({ region }) => region.status()));
        return all.every(({ records, tombstones }) => records === 0 && tombstones === 0);
      },
      30_000,
    );
    await expectEqual();
  });
});
