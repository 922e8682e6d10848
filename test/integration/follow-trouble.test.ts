import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parseTables } from '../../src/logical/tables.ts';
import { until } from './fixture.ts';
import { readRows, RunningFollow } from './following.ts';
import { builds, LogicalServers } from './logical-servers.ts';

const run = promisify(execFile);
const MAIN = join(import.meta.dirname, '../../src/cli/main.ts');

describe.each(builds)('what is in the way of a follow of PostgreSQL $version', (binaries) => {
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
  const cli = async (...args: readonly string[]): Promise<any> =>
    JSON.parse(
      (
        await run(process.execPath, [
          MAIN,
          'follow',
          ...args,
          '--from',
          source.url,
          '--to',
          target.url,
          '--json',
        ])
      ).stdout,
    );

  it('is set aside when it is one transaction, with what depends on it, and comes back when it is retried', async () => {
    await create('CREATE TABLE stock (id int PRIMARY KEY, n int NOT NULL, note text)');
    await source.client.query('INSERT INTO stock SELECT g, 10 FROM generate_series(1, 100) g');
    await target.client.query('ALTER TABLE stock ADD CHECK (n >= 0)');
    await using running = follow('q', 'stock');
    await running.caughtUp(source.client);
    await source.client.query(
      `UPDATE stock SET n = 11 WHERE id = 1; UPDATE stock SET note = 'before' WHERE id = 7`,
    );
    await source.client.query(
      `BEGIN; UPDATE stock SET n = -1 WHERE id = 7; UPDATE stock SET n = 12 WHERE id = 8; COMMIT`,
    );
    await source.client.query(`UPDATE stock SET n = 13 WHERE id = 9`);
    await source.client.query(`UPDATE stock SET n = 14 WHERE id = 8`);
    await running.caughtUp(source.client);
    await until('it is counted', () => running.follow.status.quarantined === 2);
    const { rows } = await target.client.query(
      'SELECT id, n, note FROM stock WHERE id IN (1, 7, 8, 9) ORDER BY id',
    );
    expect(rows).toEqual([
      { id: 1, n: 11, note: null },
      { id: 7, n: 10, note: 'before' },
      { id: 8, n: 10, note: null },
      { id: 9, n: 13, note: null },
    ]);
    const status = await cli('status');
    expect(status.follows[0].quarantine).toMatchObject([
      { sqlState: '23514', tables: ['"public"."stock"'] },
      { sqlState: 'LS001' },
    ]);
    // Nothing was mended yet.
    await expect(cli('retry', '--name', 'q')).rejects.toMatchObject({
      stdout: expect.stringContaining('"applied": 0'),
    });
    await target.client.query('ALTER TABLE stock DROP CONSTRAINT stock_n_check');
    expect(await cli('retry', '--name', 'q')).toEqual({ applied: 2, failed: [], waiting: 0 });
    await until('the follow sees it', () => running.follow.status.quarantined === 0);
    await source.client.query('UPDATE stock SET n = n + 1');
    await running.caughtUp(source.client);
    expect(await readRows(target.client, 'stock')).toEqual(await readRows(source.client, 'stock'));
  });

  it('takes along what refers to a row that is set aside, and what removes a row that it refers to', async () => {
    await create(`CREATE TABLE parents (id bigint PRIMARY KEY, n int);
      CREATE TABLE children (id int PRIMARY KEY, parent_id bigint REFERENCES parents, n int)`);
    await source.client.query('INSERT INTO parents VALUES (1, 1), (2, 1)');
    await target.client.query(
      'ALTER TABLE parents ADD CHECK (n >= 0); ALTER TABLE children ADD CONSTRAINT low CHECK (n < 100)',
    );
    await using running = follow('fk', 'parents,children');
    await running.caughtUp(source.client);
    for (const change of [
      'INSERT INTO parents VALUES (3, -1)',
      'INSERT INTO children VALUES (30, 3, 1)',
      'INSERT INTO children VALUES (10, 1, 1)',
      'INSERT INTO children VALUES (20, 2, 500)',
      'BEGIN; UPDATE children SET parent_id = 1 WHERE id = 20; DELETE FROM parents WHERE id = 2; COMMIT',
      'UPDATE parents SET n = 7 WHERE id = 1',
    ])
      await source.client.query(change);
    await running.caughtUp(source.client);
    await until('it is counted', () => running.follow.status.quarantined === 4);
    expect(await readRows(target.client, 'parents')).toEqual(['(1,7)', '(2,1)']);
    expect(await readRows(target.client, 'children')).toEqual(['(10,1,1)']);
    await target.client.query('ALTER TABLE parents DROP CONSTRAINT parents_n_check');
    await expect(cli('retry', '--name', 'fk')).rejects.toMatchObject({
      stdout: expect.stringMatching(/"applied": 2,[^]*"waiting": 1/),
    });
    await target.client.query('ALTER TABLE children DROP CONSTRAINT low');
    expect(await cli('retry', '--name', 'fk')).toMatchObject({ applied: 2, waiting: 0 });
    for (const table of ['parents', 'children'])
      expect(await readRows(target.client, table)).toEqual(await readRows(source.client, table));
  });

  it('can be skipped', async () => {
    await create('CREATE TABLE skipped (id int PRIMARY KEY, n int NOT NULL)');
    await source.client.query('INSERT INTO skipped VALUES (1, 1), (2, 1)');
    await target.client.query('ALTER TABLE skipped ADD CHECK (n < 5)');
    await using running = follow('s', 'skipped');
    await running.caughtUp(source.client);
    await source.client.query('UPDATE skipped SET n = 9 WHERE id = 1');
    await running.caughtUp(source.client);
    await until('it is counted', () => running.follow.status.quarantined === 1);
    expect(await cli('skip', '--all', '--name', 's')).toEqual({ skipped: 1 });
    await until('the follow sees it', () => running.follow.status.quarantined === 0);
    await source.client.query('UPDATE skipped SET n = 2 WHERE id = 1');
    await running.caughtUp(source.client);
    expect(await readRows(target.client, 'skipped')).toEqual(['(1,2)', '(2,1)']);
  });

  it('is a sentence while a table does not fit, and nothing is skipped', async () => {
    await create('CREATE TABLE fitting (id int PRIMARY KEY, n int)');
    await source.client.query('INSERT INTO fitting VALUES (1, 1)');
    await using running = follow('m', 'fitting');
    await running.caughtUp(source.client);
    await source.client.query('ALTER TABLE fitting ADD more text; INSERT INTO fitting VALUES (2, 2, $$x$$)');
    await until('it waits', () => running.follow.status.state === 'waiting');
    expect(running.follow.status.message).toBe(
      'Add column more to table public.fitting at the target; the source has it.',
    );
    await target.client.query('ALTER TABLE fitting ADD more text');
    await running.caughtUp(source.client);
    expect(await readRows(target.client, 'fitting')).toEqual(['(1,1,)', '(2,2,x)']);
  });

  it('is told at once when it never fitted', async () => {
    await source.client.query('CREATE TABLE lonely (id int PRIMARY KEY)');
    await using missing = follow('l', 'lonely');
    await until('it ends', () => missing.failure !== null);
    expect(missing.failure).toMatchObject({
      code: 'SCHEMA_MISFIT',
      message: 'Create table public.lonely at the target; it is not there.',
    });
    await target.client.query('CREATE TABLE lonely (id int PRIMARY KEY); INSERT INTO lonely VALUES (1)');
    await using full = follow('l', 'lonely');
    await until('it ends', () => full.failure !== null);
    expect(full.failure).toMatchObject({
      code: 'CONFIG_INVALID',
      message: expect.stringContaining('Empty table'),
    });
  });

  it('is mended by a copy when a table joins later', async () => {
    await create(
      'CREATE TABLE early (id int PRIMARY KEY); CREATE TABLE late (id int PRIMARY KEY, note text)',
    );
    await source.client.query(`INSERT INTO early VALUES (1); INSERT INTO late VALUES (1, 'old')`);
    {
      await using first = follow('p', 'early');
      await first.caughtUp(source.client);
      await first.stop();
    }
    await source.client.query(`INSERT INTO early VALUES (2); INSERT INTO late VALUES (2, 'old')`);
    await using second = follow('p', 'early,late');
    await second.caughtUp(source.client);
    await source.client.query(`INSERT INTO early VALUES (3); UPDATE late SET note = 'new' WHERE id = 2`);
    await second.caughtUp(source.client);
    expect(await readRows(target.client, 'early')).toEqual(['(1)', '(2)', '(3)']);
    expect(await readRows(target.client, 'late')).toEqual(['(1,old)', '(2,new)']);
    expect(second.follow.status.missingRows).toBe(0);
  });

  it('is another process with the same name, which is refused', async () => {
    await create('CREATE TABLE once (id int PRIMARY KEY, n int)');
    await source.client.query('INSERT INTO once VALUES (1, 0)');
    await using first = follow('o', 'once');
    await first.caughtUp(source.client);
    // As a second process would that reads another slot.
    await target.client.query(`UPDATE lockstep_apply.follow SET position = '0/1' WHERE name = 'o'`);
    await source.client.query('UPDATE once SET n = 1');
    await until('it ends', () => first.failure !== null);
    expect(first.failure).toMatchObject({ code: 'FENCED' });
    expect(await readRows(target.client, 'once')).toEqual(['(1,0)']);
  });

  it('is a lost connection, which is made anew', async () => {
    await create('CREATE TABLE cut (id int PRIMARY KEY, n int)');
    await source.client.query('INSERT INTO cut VALUES (1, 0)');
    await using running = follow('c', 'cut');
    await running.caughtUp(source.client);
    for (const client of [source.client, target.client]) {
      await client.query(
        `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'lockstep follow c%'`,
      );
      await source.client.query('UPDATE cut SET n = n + 1');
      await running.caughtUp(source.client);
    }
    expect(await readRows(target.client, 'cut')).toEqual(['(1,2)']);
    expect(running.follow.status.quarantined).toBe(0);
  });

  it('is a target that lost commits, which are brought again', async () => {
    await create('CREATE TABLE behind (id int PRIMARY KEY)');
    await source.client.query('INSERT INTO behind VALUES (1)');
    await using running = follow('b', 'behind');
    await running.caughtUp(source.client);
    await source.client.query('INSERT INTO behind VALUES (2)');
    await running.caughtUp(source.client);
    await running.stop();
    await target.client.query(
      `UPDATE lockstep_apply.follow SET position = '0/1' WHERE name = 'b'; DELETE FROM behind WHERE id = 2`,
    );
    await using again = follow('b', 'behind');
    await again.caughtUp(source.client);
    expect(again.events.join()).toMatch(/it lost commits. What differs is copied again/);
    expect(await readRows(target.client, 'behind')).toEqual(['(1)', '(2)']);
    await again.stop();
    await using anew = follow('b', 'behind', { startsOver: true });
    await anew.caughtUp(source.client);
    expect(await readRows(target.client, 'behind')).toEqual(['(1)', '(2)']);
  });
});
