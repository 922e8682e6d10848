import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { changes, createSlot } from '../../src/logical/index.ts';
import type { Transaction } from '../../src/logical/index.ts';
import { until } from './fixture.ts';
import { builds, LogicalServers } from './logical-servers.ts';

describe.each(builds)('the change stream of PostgreSQL $version', (binaries) => {
  let servers: LogicalServers;
  let source: Awaited<ReturnType<LogicalServers['start']>>;
  beforeAll(async () => {
    servers = await LogicalServers.create(binaries);
    source = await servers.start('source');
  });
  afterAll(async () => servers[Symbol.asyncDispose]());

  /** A table and its publication, a slot of the same name, and what takes transactions until told. */
  async function prepare(name: string, columns = 'id int PRIMARY KEY, note text'): Promise<void> {
    await source.client.query(
      `CREATE TABLE ${name} (${columns}); CREATE PUBLICATION ${name} FOR TABLE ${name}`,
    );
    await (await createSlot({ from: source.url, slot: name })).release();
  }
  const open = (slot: string, more: object = {}) =>
    changes({ from: source.url, slot, publications: [slot], ...more });

  async function take(stream: AsyncGenerator<Transaction>, count: number): Promise<Transaction[]> {
    const taken: Transaction[] = [];
    while (taken.length < count) {
      const { value, done } = await stream.next();
      if (done === true) break;
      taken.push(value);
    }
    return taken;
  }

  it('gives whole transactions with what is known of them, and rows by name', async () => {
    await prepare('a');
    const before = Date.now();
    await source.client.query(
      `BEGIN; INSERT INTO a VALUES (1, 'one'), (2, NULL); UPDATE a SET note = 'uno' WHERE id = 1; COMMIT`,
    );
    await source.client.query(`UPDATE a SET id = 3 WHERE id = 2`);
    await source.client.query(`DELETE FROM a WHERE id = 1`);
    await source.client.query(`TRUNCATE a`);
    await source.client.query(
      `BEGIN; SELECT pg_logical_emit_message(true, 'hint', 'x'); INSERT INTO a VALUES (9, 'nine'); COMMIT`,
    );
    const stream = open('a');
    const [first, moved, deleted, emptied, hinted] = await take(stream, 5);
    await stream.return();
    expect(first?.changes.map((change) => 'row' in change && [change.kind, change.row()])).toEqual([
      ['insert', { id: 1, note: 'one' }],
      ['insert', { id: 2, note: null }],
      ['update', { id: 1, note: 'uno' }],
    ]);
    expect(first?.committedAt.getTime()).toBeGreaterThanOrEqual(before - 1);
    expect(first?.committedAt.getTime()).toBeLessThanOrEqual(Date.now() + 1);
    expect(first?.origin).toBeNull();
    const { rows } = await source.client.query(`SELECT xmin::text::int AS xid FROM a WHERE id = 9`);
    expect(hinted?.xid).toBe(rows[0]?.xid);
    const [move] = moved?.changes ?? [];
    expect(move !== undefined && 'row' in move && [move.oldRow(), move.row()]).toEqual([
      { id: 2 },
      { id: 3, note: null },
    ]);
    const [gone] = deleted?.changes ?? [];
    expect(gone !== undefined && 'row' in gone && [gone.oldRow(), gone.row()]).toEqual([{ id: 1 }, null]);
    expect(emptied?.changes).toMatchObject([
      { kind: 'truncate', relations: [{ schema: 'public', name: 'a' }] },
    ]);
    expect(hinted?.changes[0]).toMatchObject({ kind: 'message', prefix: 'hint', content: Buffer.from('x') });
    expect(first !== undefined && moved !== undefined && first.endLsn <= moved.commitLsn).toBe(true);
  });

  it('sends again what was not acknowledged, and never what was', async () => {
    await prepare('b');
    for (let id = 1; id <= 3; id++) await source.client.query('INSERT INTO b VALUES ($1)', [id]);
    const stream = open('b');
    const taken = await take(stream, 3);
    taken[1]?.acknowledge();
    await stream.return();
    const again = open('b');
    const [third] = await take(again, 1);
    await again.return();
    expect(third?.changes.map((change) => 'row' in change && change.row()?.['id'])).toEqual([3]);
  });

  it('moves the slot on while nothing is under way, and not while something is', async () => {
    await prepare('c');
    const confirmed = async (): Promise<string> =>
      (
        await source.client.query<{ lsn: string }>(
          `SELECT confirmed_flush_lsn::text AS lsn FROM pg_replication_slots WHERE slot_name = 'c'`,
        )
      ).rows[0]?.lsn ?? '';
    const reached = async (lsn: string): Promise<boolean> =>
      (await source.client.query('SELECT $1::pg_lsn >= $2::pg_lsn AS yes', [await confirmed(), lsn])).rows[0]
        .yes;
    await source.client.query('INSERT INTO c VALUES (1)');
    const stream = open('c');
    const [transaction] = await take(stream, 1);
    const next = stream.next();
    const elsewhere = async (): Promise<string> => {
      await source.client.query(
        'CREATE TABLE IF NOT EXISTS unpublished (x int); INSERT INTO unpublished VALUES (1)',
      );
      return (await source.client.query('SELECT pg_current_wal_flush_lsn()::text AS lsn')).rows[0].lsn;
    };
    const passed = await elsewhere();
    await until(
      'the server hears from the stream',
      async () =>
        (await source.client.query(`SELECT 1 FROM pg_stat_replication WHERE write_lsn > '0/0'`)).rowCount ===
        1,
    );
    expect(await reached(passed)).toBe(false);
    transaction?.acknowledge();
    await until('the slot passes what was not published', () => reached(passed));
    await source.client.query('INSERT INTO c VALUES (2)');
    expect((await next).value).toMatchObject({ changes: [{ kind: 'insert' }] });
    await stream.return();
  });

  it('leaves out what an applier wrote, if asked', async () => {
    await prepare('d');
    await source.client.query(`SELECT pg_replication_origin_create('elsewhere');
      SELECT pg_replication_origin_session_setup('elsewhere');
      BEGIN; SELECT pg_replication_origin_xact_setup('0/ABC', '2020-02-02');
      INSERT INTO d VALUES (1); COMMIT; SELECT pg_replication_origin_session_reset()`);
    await source.client.query('INSERT INTO d VALUES (2)');
    const all = open('d');
    const [foreign, own] = await take(all, 2);
    await all.return();
    expect(foreign?.origin).toEqual({ name: 'elsewhere', lsn: 0xabcn });
    expect(foreign?.committedAt.toISOString().slice(0, 10)).toBe('2020-02-02');
    expect(own?.origin).toBeNull();
    const none = open('d', { origin: 'none' });
    const [only] = await take(none, 1);
    await none.return();
    expect(only?.xid).toBe(own?.xid);
  });

  it('tells an unchanged large value from NULL', async () => {
    await prepare('e', 'id int PRIMARY KEY, n int, large text');
    await source.client.query(`ALTER TABLE e ALTER COLUMN large SET STORAGE EXTERNAL;
      INSERT INTO e VALUES (1, 1, repeat('x', 10000)); `);
    await source.client.query('UPDATE e SET n = 2');
    const stream = open('e');
    const [, update] = await take(stream, 2);
    await stream.return();
    expect(update?.changes.map((change) => 'row' in change && change.row())).toEqual([{ id: 1, n: 2 }]);
  });

  it('holds the server back while nothing is taken', async () => {
    await prepare('f');
    await source.client.query(`INSERT INTO f SELECT g, repeat('x', 1000) FROM generate_series(1, 60000) g`);
    for (let round = 0; round < 20; round++)
      await source.client.query(`UPDATE f SET note = repeat($1, 1000) WHERE id <= 2000`, [
        String(round % 10),
      ]);
    const stream = open('f', { maxQueuedBytes: 1_000_000 });
    await take(stream, 1);
    const rows = async (): Promise<number> => {
      const { rows } = await source.client.query(
        `SELECT sent_lsn < pg_current_wal_lsn() - 20000000 AS behind FROM pg_stat_replication`,
      );
      return rows[0]?.behind === true ? 1 : 0;
    };
    expect(await rows()).toBe(1);
    const rest = await take(stream, 20);
    expect(rest.map((transaction) => transaction.changes.length)).toEqual(
      Array.from({ length: 20 }, () => 2000),
    );
    await stream.return();
  });

  it('says what is wrong', async () => {
    await expect(take(open('Missing Slot'), 1)).rejects.toMatchObject({ code: 'CONFIG_INVALID' });
    await expect(take(open('missing'), 1)).rejects.toMatchObject({ code: '42704' });
    await prepare('g');
    const first = open('g');
    const pending = first.next();
    await until(
      'it reads',
      async () =>
        (await source.client.query(`SELECT 1 FROM pg_replication_slots WHERE slot_name = 'g' AND active`))
          .rowCount === 1,
    );
    await expect(take(open('g', { busySlotTimeoutMs: 0 }), 1)).rejects.toMatchObject({ code: '55006' });
    // The stream may hear of it before the statement's answer is here.
    const ended = expect(pending).rejects.toMatchObject({ code: '57P01' });
    await source.client.query(
      `SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = 'g'`,
    );
    await ended;
  });

  it('ends when it is told to', async () => {
    await prepare('h');
    const abort = new AbortController();
    const stream = open('h', { signal: abort.signal });
    const next = stream.next();
    await until(
      'it reads',
      async () =>
        (await source.client.query(`SELECT 1 FROM pg_replication_slots WHERE slot_name = 'h' AND active`))
          .rowCount === 1,
    );
    abort.abort();
    expect(await next).toEqual({ done: true, value: undefined });
  });
});
