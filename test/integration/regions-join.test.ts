import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { addRegion, giveUpRegion } from '../../src/cli/regions/add-command.ts';
import { createToken, readRegions, writeRegions } from '../../src/cli/regions/regions-folder.ts';
import type { RegionPlace } from '../../src/cli/regions/regions-folder.ts';
import { Region } from '../../src/multi-leader/region.ts';
import { prepareRegion } from '../../src/multi-leader/setup/region-setup.ts';
import { until } from './fixture.ts';
import { RegionServers } from './region-servers.ts';
import type { TestRegion } from './region-servers.ts';

const DEFINITION = new URL('./regions-joined-definition.ts', import.meta.url).pathname;
const SCHEMA = `
CREATE TABLE notes (id int PRIMARY KEY, v text, twice int GENERATED ALWAYS AS (id * 2) STORED);
CREATE TABLE accounts (id int PRIMARY KEY, email text UNIQUE);
CREATE TABLE products (id int PRIMARY KEY, name text, views int NOT NULL DEFAULT 0);
ALTER TABLE products REPLICA IDENTITY FULL;
CREATE TABLE stock (id int PRIMARY KEY, quantity int NOT NULL CHECK (quantity >= 0));
ALTER TABLE stock REPLICA IDENTITY FULL;
CREATE TABLE numbered (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, who text)`;
const SLOTS = `SELECT coalesce(string_agg(slot_name, ' ' ORDER BY slot_name), '') AS all FROM pg_replication_slots`;

describe('a region that joins', () => {
  let servers: RegionServers;
  let state: string;
  let newcomer: Omit<TestRegion, 'region'>;
  let place: RegionPlace;
  beforeAll(async () => {
    const { default: definition } = (await import('./regions-joined-definition.ts')) as {
      default: RegionServers['definition'];
    };
    servers = await RegionServers.start(['eu', 'us'], SCHEMA, definition);
    state = await mkdtemp(join(tmpdir(), 'lockstep-joining-'));
    const regions = servers.regions.map(({ name, url }, index) => ({
      name,
      url,
      host: '127.0.0.1',
      apiPort: 7_000 + index,
    }));
    await writeRegions(state, { definition: DEFINITION, token: createToken(), regions });
    newcomer = await servers.addServer('ap', SCHEMA);
    place = { name: 'ap', url: newcomer.url, host: '127.0.0.1', apiPort: 7_002 };
  });
  afterAll(async () => {
    await servers?.[Symbol.asyncDispose]();
    await rm(state, { recursive: true, force: true });
  });

  const add = (patienceMs: number): Promise<string[]> => addRegion({ state, place, from: null, patienceMs });
  const write = async (name: string, i: number): Promise<void> => {
    const { client } = servers.at(name);
    const id = (i * 7) % 40;
    const text = `${name}-${i}`;
    if (i % 5 === 4) await client.query('DELETE FROM notes WHERE id = $1', [id]);
    else
      await client.query('INSERT INTO notes VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET v = excluded.v', [
        id,
        text,
      ]);
    await client.query('UPDATE products SET views = views + 1, name = $2 WHERE id = $1', [i % 3, text]);
    await client
      .query('INSERT INTO accounts VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET email = excluded.email', [
        id,
        `${(i * 3) % 20}@x`,
      ])
      // Taken here.
      .catch(() => undefined);
    await client.query('INSERT INTO numbered (who) VALUES ($1)', [name]);
  };

  it('is refused with a sentence where it cannot, and leaves nothing behind', async () => {
    await newcomer.client.query(`INSERT INTO notes VALUES (1, 'mine')`);
    await expect(add(30_000)).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
      message: expect.stringContaining('Empty public.notes in the new region'),
    });
    await newcomer.client.query('DELETE FROM notes; ALTER TABLE notes ADD COLUMN more int');
    await expect(add(30_000)).rejects.toMatchObject({
      message: expect.stringContaining('public.notes has other columns'),
    });
    await newcomer.client.query('ALTER TABLE notes DROP COLUMN more');
    // The donor does not get what us wrote.
    await servers.at('eu').region.setCut('us', true);
    await expect(add(1_500)).rejects.toMatchObject({
      message: expect.stringContaining('eu has what the others wrote'),
    });
    await servers.at('eu').region.setCut('us', false);
    await servers.at('us').client.query('BEGIN; SELECT pg_current_xact_id()');
    await expect(add(1_500)).rejects.toMatchObject({
      message: expect.stringContaining('the transactions that run in us end'),
    });
    await servers.at('us').client.query('ROLLBACK');
    // The new region's server loses its sessions in the middle.
    const writer = new pg.Client(newcomer.url);
    await writer.connect();
    await writer.query('BEGIN; LOCK TABLE notes IN ROW EXCLUSIVE MODE');
    const failed = expect(add(30_000)).rejects.toThrow();
    await until('it waits for who writes there', async () => {
      const { rowCount } = await newcomer.client.query(
        `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE application_name = 'lockstep regions joining' AND wait_event_type = 'Lock'`,
      );
      return rowCount === 1;
    });
    await failed;
    await writer.end();
    for (const { client } of servers.regions) {
      const { rows } = await client.query(`${SLOTS} WHERE slot_name = 'lockstep_ap'`);
      expect(rows[0].all).toBe('');
      const { rows: members } = await client.query('SELECT joining FROM lockstep_regions.regions');
      expect(members[0].joining).toBeNull();
    }
    expect((await newcomer.client.query(SLOTS)).rows[0].all).toBe('');
    expect((await readRegions(state)).regions).toHaveLength(2);
  });

  it('is given up where the command was killed, and begins anew', async () => {
    for (const { client } of servers.regions)
      await client.query(`UPDATE lockstep_regions.regions SET joining = 'ap'`);
    await servers
      .at('us')
      .client.query(`SELECT pg_create_logical_replication_slot('lockstep_ap', 'pgoutput')`);
    await until('people are told', async () => {
      const { problem } = await servers.at('us').region.status();
      return problem?.includes('while ap joins') === true;
    });
    await giveUpRegion(state, place);
    await until('all is well again', async () => {
      const { problem } = await servers.at('us').region.status();
      return problem === null;
    });
    const { rows } = await servers.at('us').client.query(SLOTS);
    expect(rows[0].all).toBe('lockstep_eu lockstep_own');
    // Of another one, which nobody has given up.
    await servers.at('us').client.query(`UPDATE lockstep_regions.regions SET joining = 'sa'`);
    await expect(add(30_000)).rejects.toMatchObject({
      message: expect.stringContaining('Let sa join first'),
    });
    await servers.at('us').client.query(`UPDATE lockstep_regions.regions SET joining = NULL`);
    // As it was killed in the middle: nobody runs what is half there, and the next one begins anew.
    const names = ['eu', 'us', 'ap'];
    const { definition } = servers;
    await prepareRegion(newcomer.client, { name: 'ap', names, definition, isJoining: true });
    await servers.at('eu').client.query(`UPDATE lockstep_regions.regions SET joining = 'ap'`);
    const regions = [...servers.regions, newcomer].map(({ name, url }) => ({ name, url }));
    await expect(new Region({ name: 'ap', regions, definition }).start()).rejects.toMatchObject({
      message: expect.stringContaining('Run "lockstep regions add ap" to its end first'),
    });
  });

  it('gets all that the others write meanwhile, and is one of them then', async () => {
    await servers
      .at('eu')
      .client.query(
        `INSERT INTO products SELECT i, 'p', 0 FROM generate_series(0, 2) i; INSERT INTO stock VALUES (1, 100)`,
      );
    await servers.compare();
    let isOver = false;
    let count = 0;
    const writers = ['eu', 'us'].map(async (name) => {
      for (let i = 0; !isOver || i < 200; i++, count++) await write(name, i);
    });
    await until('much is written', () => Promise.resolve(count > 100));
    expect(await add(120_000)).toEqual(['eu', 'us']);
    await servers.runJoined(newcomer);
    await until('people write there too', async () => {
      await write('ap', count);
      return count > 400;
    });
    isOver = true;
    await Promise.all(writers);
    const comparison = await servers.compare(60_000);
    if (!comparison.isEqual)
      expect.fail(`${JSON.stringify(comparison.differences, null, 1)}\n${await servers.describe()}`);
    const { rows } = await servers.at('ap').client.query('SELECT sum(views)::int AS n FROM products');
    const { rows: numbers } = await servers
      .at('eu')
      .client.query(`SELECT count(*)::int AS n, count(*) FILTER (WHERE who = 'ap')::int AS ap FROM numbered`);
    expect(rows[0].n).toBe(numbers[0].n);
    expect(numbers[0].ap).toBeGreaterThan(0);
  });

  it('is given parts of what the others hold, and none is lost', async () => {
    await until('all have some', async () => {
      const held = await Promise.all(
        servers.regions.map(async ({ client }) => {
          const { rows } = await client.query('SELECT quantity FROM stock');
          return Number(rows[0]?.quantity);
        }),
      );
      return held.length === 3 && Math.min(...held) > 0 && held.reduce((sum, one) => sum + one) === 100;
    });
  });

  it('forgets with the others, and has the same log of conflicts', async () => {
    await until(
      'nothing is kept but what unique values need',
      async () => {
        const all = await Promise.all(servers.regions.map(({ region }) => region.status()));
        return all.every(({ tombstones, operations }) => tombstones + operations === 0);
      },
      60_000,
    );
    const logs = await Promise.all(
      servers.regions.map(async ({ client }) => {
        const { rows } = await client.query(
          `SELECT count(*)::int AS n, md5(string_agg(format('%s %s %s %s %s', key, kind, later_us, later_region, result_row), E'\\n' ORDER BY key, later_us, later_region)) AS all
           FROM lockstep_regions.conflicts`,
        );
        return rows[0] as { n: number; all: string };
      }),
    );
    expect(logs[0]?.n).toBeGreaterThan(0);
    expect(logs[1]).toEqual(logs[0]);
    expect(logs[2]).toEqual(logs[0]);
    expect((await servers.compare()).isEqual).toBe(true);
  });
});
