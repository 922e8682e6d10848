import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { joinRegion } from '../../src/multi-leader/join/join-region.ts';
import { until } from './fixture.ts';
import { RegionServers } from './region-servers.ts';

const SCHEMA =
  'CREATE TABLE busy (id int PRIMARY KEY, v text); CREATE TABLE notes (id int PRIMARY KEY, v text)';
const PATIENCE_MS = 120_000;

describe('writes that are on their way to the donor while a region joins', () => {
  let servers: RegionServers;
  const sessions: pg.Client[] = [];
  beforeAll(async () => {
    servers = await RegionServers.start(['eu', 'us'], SCHEMA);
  });
  afterAll(async () => {
    await Promise.all(sessions.map((session) => session.end().catch(() => undefined)));
    await servers?.[Symbol.asyncDispose]();
  });

  const begin = async (url: string, text: string): Promise<pg.Client> => {
    const session = new pg.Client(url);
    await session.connect();
    sessions.push(session);
    await session.query(`BEGIN; ${text}`);
    return session;
  };
  const untilAsks = (name: string, words: string): Promise<unknown> =>
    until(`the join asks ${name} for ${words}`, async () => {
      const { rowCount } = await servers
        .at(name)
        .client.query(
          `SELECT FROM pg_stat_activity WHERE application_name = 'lockstep regions joining' AND query LIKE $1`,
          [`%${words}%`],
        );
      return rowCount !== 0;
    });

  it('lose in the new region to what is later in the copy, also where that is a delete', async () => {
    const [eu, us] = [servers.at('eu'), servers.at('us')];
    await eu.client.query(`INSERT INTO notes SELECT i, 'first' FROM generate_series(1, 3) i`);
    expect((await servers.compare()).isEqual).toBe(true);
    const newcomer = await servers.addServer('ap', SCHEMA);
    // The donor's look waits for the one, and what comes from us for the other.
    const running = await begin(eu.url, 'SELECT pg_current_xact_id()');
    const holding = await begin(eu.url, 'LOCK TABLE busy IN SHARE MODE');
    const joined = joinRegion({
      regions: servers.regions.map(({ name, url }) => ({ name, url })),
      left: [],
      newcomer: { name: newcomer.name, url: newcomer.url },
      donor: 'eu',
      definition: {},
      patienceMs: PATIENCE_MS,
    });
    joined.catch(() => undefined);
    await untilAsks('us', 'lockstep.look');
    await us.client.query(`INSERT INTO notes VALUES (10, 'before')`);
    await untilAsks('eu', 'pg_snapshot_xmin');
    await us.client.query(
      `BEGIN; INSERT INTO busy VALUES (1, 'us'); UPDATE notes SET v = 'older'; INSERT INTO notes VALUES (4, 'older'); COMMIT`,
    );
    await eu.client.query(
      `UPDATE notes SET v = 'newer' WHERE id = 1; DELETE FROM notes WHERE id = 2; INSERT INTO notes VALUES (4, 'newer')`,
    );
    await running.query('COMMIT');
    await joined;
    await holding.query('COMMIT');
    await servers.runJoined(newcomer);
    await until('what us wrote is there', async () => {
      const { rowCount } = await servers.at('ap').client.query('SELECT FROM busy');
      return rowCount === 1;
    });
    const comparison = await servers.compare();
    if (!comparison.isEqual) expect.fail(JSON.stringify(comparison.differences, null, 1));
    const { rows } = await servers.at('ap').client.query('SELECT id, v FROM notes ORDER BY id');
    expect(rows.map(({ id, v }) => `${id} ${v}`)).toEqual(['1 newer', '3 older', '4 newer', '10 older']);
  });
});
