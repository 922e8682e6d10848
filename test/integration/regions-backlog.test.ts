import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { until } from './fixture.ts';
import { RegionServers } from './region-servers.ts';

const ROWS = 5_000;
const SCHEMA = `
CREATE TABLE rows (id int PRIMARY KEY, n int NOT NULL, note text);
INSERT INTO rows SELECT g, 0 FROM generate_series(1, ${ROWS}) g;
CREATE TABLE emptied (id int PRIMARY KEY, n int NOT NULL);
ANALYZE rows;
`;

describe('a backlog', () => {
  let servers: RegionServers;
  beforeAll(async () => {
    servers = await RegionServers.start(['eu', 'us'], SCHEMA);
    await servers.untilLink('eu', 'us', ({ state }) => state === 'streaming');
    await servers.untilLink('us', 'eu', ({ state }) => state === 'streaming');
  });
  afterAll(async () => servers?.[Symbol.asyncDispose]());

  const count = async (sql: string): Promise<number> =>
    Number((await servers.at('us').client.query<{ n: string }>(sql)).rows[0]?.n);
  /** What the server has counted: once as many rows were written, the batches that did it are in it. */
  const scansAfter = async (written: number): Promise<number> => {
    const counted = (column: string): Promise<number> =>
      count(`SELECT ${column} AS n FROM pg_stat_user_tables WHERE relname = 'rows'`);
    await until('it was counted', async () => (await counted('n_tup_upd')) >= written);
    return counted('seq_scan');
  };

  it('is applied by its keys: no batch reads the table as a whole', async () => {
    await servers.at('eu').client.query(`UPDATE rows SET n = 1 WHERE id <= 1500`);
    const before = await scansAfter(1_500);
    await servers.at('eu').client.query(`UPDATE rows SET n = 2 WHERE id <= 1500`);
    expect(await scansAfter(3_000)).toBe(before);
  });

  it('is gathered on while a batch waits, in the order of the log, with what was emptied in between', async () => {
    const { client: writer } = servers.at('us');
    const { client: eu } = servers.at('eu');
    await writer.query('BEGIN');
    await writer.query('SELECT FROM rows WHERE id = 7 FOR UPDATE');
    await eu.query('UPDATE rows SET n = 3 WHERE id = 7');
    await eu.query('INSERT INTO emptied SELECT g, 0 FROM generate_series(1, 3000) g');
    await eu.query('TRUNCATE emptied');
    await eu.query('INSERT INTO emptied SELECT g, 1 FROM generate_series(1, 3000) g');
    for (let n = 4; n < 40; n++) await eu.query('UPDATE rows SET n = $1 WHERE id = 7', [n]);
    await writer.query('COMMIT');
    await until('all of it is there', async () => (await count(`SELECT n FROM rows WHERE id = 7`)) === 39);
    expect(await count(`SELECT count(*) AS n FROM emptied WHERE n = 1`)).toBe(3_000);
    expect((await servers.compare()).differences).toEqual([]);
  });

  it('is compared with what was written meanwhile, row by row, also where one transaction is several batches', async () => {
    const [eu, us] = [servers.at('eu').client, servers.at('us').client];
    await servers.setCut('eu', 'us', true);
    await us.query(`UPDATE rows SET note = 'before' WHERE id % 3 = 0`);
    await eu.query(`UPDATE rows SET note = 'all'`);
    await us.query(`UPDATE rows SET note = 'after' WHERE id % 5 = 0`);
    await eu.query(`UPDATE rows SET note = 'last' WHERE id % 7 = 0`);
    await servers.setCut('eu', 'us', false);
    expect((await servers.compare()).differences).toEqual([]);
    const { rows } = await us.query<{ note: string; n: number }>(
      `SELECT note, count(*)::int AS n FROM rows WHERE note IS NOT NULL GROUP BY 1 ORDER BY 1`,
    );
    const ids = Array.from({ length: ROWS }, (_, index) => index + 1);
    const last = ids.filter((id) => id % 7 === 0).length;
    const after = ids.filter((id) => id % 5 === 0 && id % 7 !== 0).length;
    expect(rows).toEqual([
      { note: 'after', n: after },
      { note: 'all', n: ROWS - after - last },
      { note: 'last', n: last },
    ]);
  });

  it('goes on where it was when the connection that applies it is lost', async () => {
    const { client: writer } = servers.at('us');
    await writer.query('BEGIN');
    await writer.query('SELECT FROM rows WHERE id = 8 FOR UPDATE');
    const { client: eu } = servers.at('eu');
    for (let n = 1; n <= 20; n++)
      await eu.query(`UPDATE rows SET n = $1 WHERE id BETWEEN 8 AND 3000`, [100 + n]);
    const { rows } = await writer.query<{ n: number }>(
      `SELECT count(pg_terminate_backend(pid))::int AS n FROM pg_stat_activity WHERE application_name = 'lockstep regions from eu'`,
    );
    expect(rows[0]?.n).toBe(1);
    await writer.query('COMMIT');
    await until(
      'all of it is there',
      async () => (await count(`SELECT n FROM rows WHERE id = 3000`)) === 120,
    );
    expect((await servers.compare()).differences).toEqual([]);
  });
});
