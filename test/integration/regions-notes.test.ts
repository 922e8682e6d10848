import { afterAll, beforeAll, expect, it } from 'vitest';
import { until } from './fixture.ts';
import { RegionServers } from './region-servers.ts';

const ROWS = 5_000;
const SCHEMA = `
CREATE TABLE rows (id int PRIMARY KEY, note text, wide text DEFAULT repeat('x', 100));
INSERT INTO rows SELECT g FROM generate_series(1, ${ROWS}) g;`;

let servers: RegionServers;
beforeAll(async () => {
  servers = await RegionServers.start(['eu', 'us', 'ap'], SCHEMA);
});
afterAll(async () => servers?.[Symbol.asyncDispose]());

it('tells the versions of what two other regions wrote apart, though one of them comes late', async () => {
  const [eu, us, ap] = ['eu', 'us', 'ap'].map((name) => servers.at(name).client);
  for (const other of ['eu', 'us']) await servers.setCut('ap', other, true);
  await ap?.query(`UPDATE rows SET note = 'older' WHERE id % 2 = 0`);
  await eu?.query(`UPDATE rows SET note = 'all'`);
  const untilThere = (note: string, count: number): Promise<unknown> =>
    until(`${note} is there`, async () => {
      const found = await us?.query(`SELECT FROM rows WHERE note = $1`, [note]);
      return found?.rowCount === count;
    });
  await untilThere('all', ROWS);
  await ap?.query(`UPDATE rows SET note = 'between' WHERE id % 3 = 0`);
  await eu?.query(`UPDATE rows SET note = 'again' WHERE id % 5 = 0`);
  await untilThere('again', ROWS / 5);
  const stamps = await us?.query<{ n: number; kept: number }>(
    `SELECT count(DISTINCT batch_us)::int AS n, sum(cardinality(keys))::int AS kept FROM lockstep_regions.batch_records`,
  );
  expect(stamps?.rows[0]?.kept).toBe(ROWS + ROWS / 5);
  // Each of the large transaction's batches has one of its own, and the last transaction.
  expect(stamps?.rows[0]?.n).toBeGreaterThanOrEqual(2 + 1);
  for (const other of ['eu', 'us']) await servers.setCut('ap', other, false);
  expect((await servers.compare()).differences).toEqual([]);
  const ids = Array.from({ length: ROWS }, (_, index) => index + 1);
  const again = ids.filter((id) => id % 5 === 0).length;
  const between = ids.filter((id) => id % 3 === 0 && id % 5 !== 0).length;
  const found = await us?.query(`SELECT note, count(*)::int AS n FROM rows GROUP BY 1 ORDER BY 1`);
  expect(found?.rows).toEqual([
    { note: 'again', n: again },
    { note: 'all', n: ROWS - again - between },
    { note: 'between', n: between },
  ]);
  // Once ap has promised, all of it is settled.
  await until('nothing is kept any more', async () => {
    const left = await us?.query('SELECT FROM lockstep_regions.batch_records');
    return left?.rowCount === 0;
  });
});
