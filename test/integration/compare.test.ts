import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { compareTables } from '../../src/logical/compare/compare.ts';
import { parseTables } from '../../src/logical/tables.ts';
import { readRows, RunningFollow } from './following.ts';
import { builds, LogicalServers } from './logical-servers.ts';

describe.each(builds)('a comparison on PostgreSQL $version', (binaries) => {
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
  const compare = (tables: string, more: object = {}): ReturnType<typeof compareTables> =>
    compareTables({
      from: source.url,
      to: target.url,
      tables: parseTables(tables),
      follow: 'main',
      repairs: false,
      rangeRows: 5_000,
      ...more,
    });

  it('finds every planted difference, also at the borders of its ranges, and mends them', async () => {
    await create(`CREATE TABLE planted (a int, b text, v numeric, PRIMARY KEY (a, b));
      INSERT INTO planted SELECT g, 'k' || g % 3, g FROM generate_series(1, 12000) g`);
    expect(await compare('planted')).toMatchObject([{ rows: 12_000, differences: [], undecided: 0 }]);
    await target.client.query(`DELETE FROM planted WHERE a IN (1, 5000, 5001, 12000);
      UPDATE planted SET v = v + 1 WHERE a IN (2, 10000, 77); UPDATE planted SET v = 3.0 WHERE a = 3;
      INSERT INTO planted VALUES (-5, 'x', 1), (5000, 'zzz', 1), (12001, 'x', 1)`);
    // Two that a single sum would let cancel each other.
    await target.client.query(
      `UPDATE planted SET v = CASE a WHEN 10 THEN 11 ELSE 10 END WHERE a IN (10, 11)`,
    );
    const [found] = await compare('planted');
    const named = found?.differences.map(({ kind, key }) => `${kind} ${key.join('/')}`).toSorted();
    expect(named).toEqual(
      [
        'missing 1/k1',
        'missing 5000/k2',
        'missing 5001/k0',
        'missing 12000/k0',
        'different 2/k2',
        'different 10000/k1',
        'different 77/k2',
        'different 3/k0',
        'different 10/k1',
        'different 11/k2',
        'extra -5/x',
        'extra 5000/zzz',
        'extra 12001/x',
      ].toSorted(),
    );
    expect(await compare('planted', { repairs: true })).toMatchObject([{ repaired: 13 }]);
    expect(await compare('planted')).toMatchObject([{ differences: [] }]);
    expect(await readRows(target.client, 'planted')).toEqual(await readRows(source.client, 'planted'));
  });

  it('takes values of other types for the same, and nothing else', async () => {
    const values = `SELECT g, g * 3, 'v' || g, (ARRAY['low', 'high'])[1 + g % 2]::level, now(), g % 2 = 0, g / 4.0, NULLIF(g % 3, 0)::text, 'y' || g, ARRAY[g, NULL], g / 3.0::float8, '{"a": 1}'
      FROM generate_series(1, 600) g`;
    const columns = (id: string, n: string, s: string): string =>
      `id ${id} PRIMARY KEY, n ${n}, s ${s}, m level, t timestamptz, b boolean, d numeric, x text, y text, a int[], f float8, j jsonb`;
    await source.client.query(`CREATE TYPE level AS ENUM ('low', 'high');
      CREATE TABLE typed (${columns('int', 'int', 'varchar(10)')}); INSERT INTO typed ${values}`);
    // Another type first, so that those of one name have other oids.
    await target.client.query(`CREATE TYPE other AS ENUM ('x'); CREATE TYPE level AS ENUM ('low', 'high');
      CREATE TABLE typed (${columns('bigint', 'bigint', 'text')})`);
    await using running = new RunningFollow({
      from: source.url,
      to: target.url,
      tables: parseTables('typed'),
    });
    await running.caughtUp(source.client);
    expect(await compare('typed')).toMatchObject([{ rows: 600, differences: [], undecided: 0 }]);
    await target.client
      .query(`UPDATE typed SET n = n + 1 WHERE id = 1; UPDATE typed SET m = 'high' WHERE id = 2;
      UPDATE typed SET x = '' WHERE id = 3; UPDATE typed SET x = y, y = x WHERE id = 4; UPDATE typed SET d = 1.250 WHERE id = 5;
      UPDATE typed SET t = t + '1 us' WHERE id = 6; UPDATE typed SET a = '{7}' WHERE id = 7; UPDATE typed SET b = NULL WHERE id = 8`);
    // Two rows that have one another's values.
    await target.client.query(
      `UPDATE typed SET s = CASE id WHEN 10 THEN 'v11' ELSE 'v10' END WHERE id IN (10, 11)`,
    );
    const [found] = await compare('typed', { repairs: true });
    expect(found?.differences.map(({ kind, key }) => `${kind} ${key.join()}`).toSorted()).toEqual(
      [1, 2, 3, 4, 5, 6, 7, 8, 10, 11].map((id) => `different ${id}`).toSorted(),
    );
    expect(await compare('typed')).toMatchObject([{ differences: [] }]);
  });

  it('tells no false difference while rows are written, and finds the true ones among them', async () => {
    await create(`CREATE TABLE busy (id int PRIMARY KEY, n int, note text)`);
    await source.client.query(`INSERT INTO busy SELECT g, 0, 'x' FROM generate_series(1, 20000) g`);
    await using running = new RunningFollow({
      from: source.url,
      to: target.url,
      tables: parseTables('busy'),
    });
    await running.caughtUp(source.client);
    const writer = await source.server.connect();
    let isWriting = true;
    const writing = (async () => {
      for (let turn = 0; isWriting; turn++) {
        await writer.query('UPDATE busy SET n = n + 1 WHERE id % 50 = 1 + $1 % 20 AND id < 19000', [turn]);
        await writer.query('INSERT INTO busy VALUES ($1, 0, NULL)', [100_000 + turn]);
        if (turn % 3 === 0) await writer.query('DELETE FROM busy WHERE id = $1', [100_000 + turn]);
      }
    })();
    try {
      expect(await compare('busy')).toMatchObject([{ differences: [] }]);
      await target.client.query(
        `UPDATE busy SET note = 'spoiled' WHERE id IN (7, 19999); DELETE FROM busy WHERE id = 19500`,
      );
      const [found] = await compare('busy', { repairs: true });
      const named = found?.differences.map(({ kind, key }) => `${kind} ${key[0]}`).toSorted();
      expect(named).toContain('different 19999');
      expect(named).toContain('missing 19500');
      for (const name of named ?? [])
        expect(['different 19999', 'missing 19500', 'different 7']).toContain(name);
    } finally {
      isWriting = false;
      await writing;
      await writer.end();
    }
    await running.caughtUp(source.client);
    expect(await compare('busy', { repairs: true })).toMatchObject([{ undecided: 0 }]);
    expect(await readRows(target.client, 'busy')).toEqual(await readRows(source.client, 'busy'));
    expect(running.follow.status).toMatchObject({ quarantined: 0 });
  });
});
