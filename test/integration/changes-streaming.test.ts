import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { changes, createSlot } from '../../src/logical/index.ts';
import type { Transaction } from '../../src/logical/index.ts';
import { parseTables } from '../../src/logical/tables.ts';
import { until } from './fixture.ts';
import { readRows, RunningFollow } from './following.ts';
import { builds, LogicalServers } from './logical-servers.ts';

describe.each(builds)('large transactions in progress on PostgreSQL $version', (binaries) => {
  let servers: LogicalServers;
  let source: Awaited<ReturnType<LogicalServers['start']>>;
  let target: Awaited<ReturnType<LogicalServers['start']>>;
  beforeAll(async () => {
    servers = await LogicalServers.create(binaries);
    [source, target] = await Promise.all([servers.start('source'), servers.start('target')]);
    await source.client.query(`ALTER SYSTEM SET logical_decoding_work_mem = '64kB'; `);
    await source.client.query('SELECT pg_reload_conf()');
    for (const { client } of [source, target])
      await client.query(
        'CREATE TABLE l (id int PRIMARY KEY, note text); CREATE TABLE small (id int PRIMARY KEY); CREATE TABLE many (id int PRIMARY KEY, note text)',
      );
  });
  afterAll(async () => servers[Symbol.asyncDispose]());

  /** Two large ones whose stretches come in turn, small ones between, savepoints, and one that is rolled back. */
  async function write(): Promise<void> {
    const [one, two, three] = await Promise.all([1, 2, 3].map(() => source.server.connect()));
    if (one === undefined || two === undefined || three === undefined) throw new Error('no connections');
    const fill = (from: number, rows = 1_500): string =>
      `INSERT INTO l SELECT g, repeat('x', 500) FROM generate_series(${from}, ${from + rows - 1}) g`;
    try {
      await one.query(`BEGIN; ${fill(10_000)}`);
      await two.query(`BEGIN; ${fill(20_000)}`);
      await three.query(`BEGIN; ${fill(30_000)}`);
      await source.client.query('INSERT INTO small VALUES (1)');
      await one.query(
        `SAVEPOINT a; ${fill(11_500)}; SAVEPOINT b; ${fill(13_000)}; RELEASE b; SAVEPOINT c; ${fill(14_500)}`,
      );
      await two.query(`SAVEPOINT a; ${fill(21_500)}; ROLLBACK TO a; ${fill(23_000)}`);
      await one.query(`ROLLBACK TO a; UPDATE l SET note = 'seen' WHERE id = 10000; ${fill(16_000)}`);
      await three.query('ROLLBACK');
      await two.query(`ALTER TABLE small ADD note text; INSERT INTO small VALUES (2, 'new column'); COMMIT`);
      await source.client.query(`INSERT INTO small VALUES (3, 'after')`);
      await one.query('COMMIT');
      await source.client.query('INSERT INTO small VALUES (4)');
    } finally {
      await Promise.all([one, two, three].map((client) => client.end()));
    }
  }

  it('are given when they commit, without what was rolled back, whole and in pieces', async () => {
    await source.client.query('CREATE PUBLICATION p FOR TABLE l, small');
    for (const slot of ['whole', 'pieces']) await (await createSlot({ from: source.url, slot })).release();
    await using running = new RunningFollow({
      from: source.url,
      to: target.url,
      name: 'large',
      tables: parseTables('l,small'),
    });
    await running.caughtUp(source.client);
    await target.client.query('ALTER TABLE small ADD note text');
    await write();
    const whole = await take('whole', false);
    const ids = whole.map(({ changes: list }) =>
      list.map((change) => 'row' in change && change.row()?.['id']),
    );
    const range = (from: number): number[] => Array.from({ length: 1_500 }, (_, index) => from + index);
    expect(ids).toEqual([
      [1],
      [...range(20_000), ...range(23_000), 2],
      [3],
      [...range(10_000), 10_000, ...range(16_000)],
      [4],
    ]);
    const pieces = await take('pieces', true);
    expect(pieces.length).toBeGreaterThan(whole.length);
    expect(pieces.filter(({ isLast }) => isLast).map(({ xid }) => xid)).toEqual(whole.map(({ xid }) => xid));
    expect(pieces.flatMap((piece) => piece.changes.length).reduce((a, b) => a + b)).toBe(ids.flat().length);
    await until('the servers tell that they were sent in progress', async () => {
      const { rows } = await source.client.query(
        `SELECT slot_name FROM pg_stat_replication_slots WHERE stream_txns >= 2 ORDER BY 1`,
      );
      return rows.map(({ slot_name }) => slot_name).join() === 'lockstep_follow_large,pieces,whole';
    });
    await running.caughtUp(source.client);
    expect(await readRows(target.client, 'l')).toEqual(await readRows(source.client, 'l'));
    expect(await readRows(target.client, 'small')).toEqual(['(1,)', '(2,"new column")', '(3,after)', '(4,)']);
    expect(running.follow.status).toMatchObject({ missingRows: 0, quarantined: 0, transactions: 5 });
  });

  it('are left at the source where they take more than may be kept, and nothing is lost', async () => {
    await (await createSlot({ from: source.url, slot: 'bounded' })).release();
    await using running = new RunningFollow({
      from: source.url,
      to: target.url,
      name: 'bounded',
      tables: parseTables('many'),
      maxSpoolBytes: 500_000,
    });
    await running.caughtUp(source.client);
    await source.client.query(
      `INSERT INTO many SELECT g, repeat('x', 500) FROM generate_series(1, 3000) g; UPDATE many SET note = 'y' WHERE id % 2 = 0`,
    );
    const tooMuch = changes({
      from: source.url,
      slot: 'bounded',
      publications: ['lockstep_follow_bounded'],
      maxSpoolBytes: 500_000,
    });
    await expect(tooMuch.next()).rejects.toMatchObject({ code: 'CONFIG_INVALID', retryable: true });
    const whole = changes({
      from: source.url,
      slot: 'bounded',
      publications: ['lockstep_follow_bounded'],
      maxSpoolBytes: 0,
    });
    expect((await whole.next()).value?.changes).toHaveLength(4_500);
    await whole.return();
    await running.caughtUp(source.client);
    expect(await readRows(target.client, 'many')).toEqual(await readRows(source.client, 'many'));
    expect(running.events).toEqual([expect.stringContaining('--max-spool')]);
    expect(running.follow.status).toMatchObject({ missingRows: 0, quarantined: 0, transactions: 1 });
  });

  /** Up to the last small one, with little read ahead. */
  async function take(slot: string, splitsLarge: boolean): Promise<Transaction[]> {
    const taken: Transaction[] = [];
    const options = { from: source.url, slot, publications: ['p'], splitsLarge, maxQueuedBytes: 100_000 };
    for await (const transaction of changes(options)) {
      taken.push(transaction);
      transaction.acknowledge();
      if (transaction.changes.some((change) => 'row' in change && change.row()?.['id'] === 4)) break;
    }
    return taken;
  }
});
