import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parseTables } from '../../src/logical/tables.ts';
import { until } from './fixture.ts';
import { readRows, RunningFollow } from './following.ts';
import { builds, LogicalServers } from './logical-servers.ts';

describe.each(builds)('a gap before a follow of PostgreSQL $version', (binaries) => {
  let servers: LogicalServers;
  let source: Awaited<ReturnType<LogicalServers['start']>>;
  let target: Awaited<ReturnType<LogicalServers['start']>>;
  beforeAll(async () => {
    servers = await LogicalServers.create(binaries);
    [source, target] = await Promise.all([servers.start('source'), servers.start('target')]);
  });
  afterAll(async () => servers[Symbol.asyncDispose]());

  async function create(sql: string): Promise<void> {
    await source.client.query(sql);
    await target.client.query(sql);
  }
  const follow = (name: string, tables: string, more: object = {}): RunningFollow =>
    new RunningFollow({ from: source.url, to: target.url, name, tables: parseTables(tables), ...more });
  async function expectSame(...tables: readonly string[]): Promise<void> {
    for (const table of tables)
      expect(await readRows(target.client, table), table).toEqual(await readRows(source.client, table));
  }

  it('is filled by what differs, when the slot is gone', async () => {
    await create(`CREATE TABLE g (a int, b text, place int UNIQUE, tags text[], PRIMARY KEY (a, b));
      CREATE TABLE keyless (note text)`);
    await source.client.query(`INSERT INTO g SELECT g, 'b' || g, g, ARRAY['t'] FROM generate_series(1, 500) g;
      INSERT INTO keyless SELECT 'n' FROM generate_series(1, 5)`);
    {
      await using first = follow('gap', 'g,keyless');
      await first.caughtUp(source.client);
      await first.stop();
    }
    await until('the slot is dropped', async () => {
      await source.client.query(`SELECT pg_drop_replication_slot('lockstep_follow_gap')`);
      return true;
    });
    await source.client.query(`DELETE FROM g WHERE a % 7 = 0; UPDATE g SET tags = '{new}' WHERE a = 9;
      UPDATE g SET place = -1 WHERE a = 10; UPDATE g SET place = 10 WHERE a = 300; UPDATE g SET place = 300 WHERE a = 10;
      INSERT INTO g SELECT g, 'more', g, NULL FROM generate_series(1001, 1100) g; INSERT INTO keyless VALUES ('m')`);
    await target.client.query(`INSERT INTO g VALUES (-5, 'strange', 7007)`);
    await using second = follow('gap', 'g,keyless');
    await second.caughtUp(source.client);
    expect(second.events).toEqual([
      'The slot is gone from the source, and with it changes may be. What differs is copied again.',
    ]);
    await expectSame('g', 'keyless');
    await source.client.query(`UPDATE g SET place = place + 5000; INSERT INTO keyless VALUES ('z')`);
    await second.caughtUp(source.client);
    await expectSame('g', 'keyless');
    expect(second.follow.status).toMatchObject({ missingRows: 0, quarantined: 0 });
  });

  it('is seen after a failover to a leader that lacks what the target has, whatever it has written since', async () => {
    await create('CREATE TABLE ahead (id int PRIMARY KEY)');
    await source.client.query('INSERT INTO ahead VALUES (1)');
    {
      await using first = follow('ahead', 'ahead');
      await first.caughtUp(source.client);
      await first.stop();
    }
    const before = await source.server.connect();
    const lsn = (await before.query('SELECT pg_current_wal_flush_lsn()::text AS lsn')).rows[0].lsn;
    await before.end();
    await source.client.end().catch(() => undefined);
    await source.server.stop('immediate');
    await source.server.startAsFollower();
    await source.server.promote(60_000);
    Object.assign(source, { client: await source.server.connect() });
    // As if the target had applied a transaction that the new leader never got.
    await target.client.query(`INSERT INTO ahead VALUES (2);
      UPDATE lockstep_apply.follow SET position = '${lsn}'::pg_lsn + 20000 WHERE name = 'ahead'`);
    await source.client.query('INSERT INTO ahead VALUES (3)');
    await source.client.query(
      `SELECT pg_logical_emit_message(true, 'x', repeat('x', 40000)), pg_switch_wal()`,
    );
    await source.client.query('INSERT INTO ahead VALUES (4)');
    await using second = follow('ahead', 'ahead');
    await second.caughtUp(source.client);
    expect(second.events.join()).toContain('The source has failed over');
    expect(await readRows(target.client, 'ahead')).toEqual(['(1)', '(3)', '(4)']);
    await source.client.end();
  });
});

const [newest] = builds.slice(-1);
if (newest === undefined) throw new Error('no PostgreSQL to test with');

it('completes a copy that was interrupted, and does not start over', async () => {
  await using servers = await LogicalServers.create(newest);
  const [source, target] = await Promise.all([servers.start('source'), servers.start('target')]);
  for (const { client } of [source, target])
    await client.query('CREATE TABLE c (id int PRIMARY KEY, note text)');
  await source.client.query(`INSERT INTO c SELECT g, repeat('x', 100) FROM generate_series(1, 20000) g`);
  const options = {
    from: source.url,
    to: target.url,
    name: 'c',
    tables: parseTables('c'),
    chunkBytes: 400_000,
  };
  const blocker = await target.server.connect();
  await blocker.query('BEGIN; INSERT INTO c VALUES (19990)');
  {
    await using first = new RunningFollow(options);
    await until(
      'most of it is there',
      async () => Number((await target.client.query('SELECT count(*) FROM c')).rows[0].count) > 10_000,
      60_000,
    );
    expect(first.failure).toBeNull();
  }
  await blocker.end();
  await source.client.query(
    `UPDATE c SET note = 'new' WHERE id % 1000 = 0; DELETE FROM c WHERE id = 5; INSERT INTO c VALUES (0, 'z')`,
  );
  await using second = new RunningFollow(options);
  await second.caughtUp(source.client);
  expect(await readRows(target.client, 'c')).toEqual(await readRows(source.client, 'c'));
  const [table] = second.follow.status.tables;
  expect(table?.state).toBe('copied');
  expect(table?.copiedBytes).toBeLessThan(1_200_000);
  await source.client.query('UPDATE c SET note = $$last$$ WHERE id < 100');
  await second.caughtUp(source.client);
  expect(await readRows(target.client, 'c')).toEqual(await readRows(source.client, 'c'));
});
