import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { counter } from '../../src/multi-leader/index.ts';
import { until } from './fixture.ts';
import { RegionServers } from './region-servers.ts';

const NAMES = ['eu', 'us'];
const SCHEMA = `
CREATE TABLE stock (id int PRIMARY KEY, n int NOT NULL, note text);
INSERT INTO stock SELECT g, 0 FROM generate_series(1, 10) g;
CREATE TABLE likes (id int PRIMARY KEY, n int NOT NULL);
ALTER TABLE likes REPLICA IDENTITY FULL;
INSERT INTO likes SELECT g, 0 FROM generate_series(1, 10) g;
CREATE TABLE emptied (id int PRIMARY KEY, n int NOT NULL);
INSERT INTO emptied SELECT g, 0 FROM generate_series(1, 10) g;
`;

describe('a batch and a local writer who wait for each other', () => {
  let servers: RegionServers;
  beforeAll(async () => {
    servers = await RegionServers.start(NAMES, SCHEMA, { tables: { likes: { n: counter() } } });
    for (const [from, to] of [
      ['eu', 'us'],
      ['us', 'eu'],
    ] as const)
      await servers.untilLink(from, to, ({ state }) => state === 'streaming');
  });
  afterAll(async () => servers?.[Symbol.asyncDispose]());

  const gaveWay = async (): Promise<number> =>
    (await servers.at('us').region.status()).links.find(({ from }) => from === 'eu')?.gaveWay ?? 0;
  const deadlocks = async (): Promise<string> => {
    const { rows } = await servers
      .at('us')
      .client.query<{ deadlocks: string }>(
        'SELECT deadlocks::text FROM pg_stat_database WHERE datname = current_database()',
      );
    return rows[0]?.deadlocks ?? '';
  };
  const read = async (sql: string): Promise<unknown> => (await servers.at('us').client.query(sql)).rows;

  it.each([
    ['rows', 'UPDATE stock SET n = n + 1 WHERE id = $1'],
    ['merging rows', 'UPDATE likes SET n = n + 1 WHERE id = $1'],
  ])('the batch of %s gives way, and the writer commits', async (_what, sql) => {
    const eu = servers.at('eu').client;
    const writer = servers.at('us').client;
    const [before, known] = [await gaveWay(), await deadlocks()];
    await writer.query('BEGIN');
    await writer.query(sql, [2]);
    await eu.query('BEGIN');
    await eu.query(sql, [1]);
    await eu.query(sql, [2]);
    await eu.query('COMMIT');
    // Longer than any deadlock would be left alone: it was to let go of row 1 before.
    await until('the batch gave way, more than once', async () => (await gaveWay()) > before + 2);
    await writer.query(sql, [1]);
    await writer.query('COMMIT');
    expect((await servers.compare()).differences).toEqual([]);
    expect(await deadlocks()).toBe(known);
  });

  it('takes its rows one by one in the end, so that one which is held for long keeps no other back', async () => {
    const writer = servers.at('us').client;
    await writer.query('BEGIN');
    await writer.query(`UPDATE stock SET note = 'held' WHERE id = 5`);
    await servers.at('eu').client.query(`UPDATE stock SET note = 'eu' WHERE id IN (4, 5)`);
    await until('the other row is there', async () => {
      const rows = await read(`SELECT note FROM stock WHERE id = 4`);
      return JSON.stringify(rows) === '[{"note":"eu"}]';
    });
    await writer.query('ROLLBACK');
    await until('the held one too', async () => {
      const rows = await read(`SELECT note FROM stock WHERE id = 5`);
      return JSON.stringify(rows) === '[{"note":"eu"}]';
    });
    expect((await servers.compare()).differences).toEqual([]);
  });

  it('an emptying gives way too', async () => {
    const writer = servers.at('us').client;
    const before = await gaveWay();
    await writer.query('BEGIN');
    await writer.query('SELECT FROM emptied WHERE id = 3 FOR UPDATE');
    await servers.at('eu').client.query('TRUNCATE emptied');
    await until('it gave way', async () => (await gaveWay()) > before);
    // Which it would hold by now.
    await writer.query('SELECT FROM emptied FOR UPDATE');
    await writer.query('COMMIT');
    await until('it is empty', async () => JSON.stringify(await read('TABLE emptied')) === '[]');
    expect((await servers.compare()).differences).toEqual([]);
  });
});
