import { spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { connectToLeader } from '../../src/logical/endpoints.ts';
import { ensurePublication } from '../../src/logical/follow/source.ts';
import { openSession } from '../../src/multi-leader/sessions.ts';
import { openLink } from '../../src/logical/follow/initial-copy.ts';
import { compareTables } from '../../src/logical/compare/compare.ts';
import { parseTables } from '../../src/logical/tables.ts';
import { parseLsn } from '../../src/model/lsn.ts';
import { until } from './fixture.ts';
import { killHard, readRows, RunningFollow } from './following.ts';
import { builds, LogicalServers } from './logical-servers.ts';

const MAIN = join(import.meta.dirname, '../../src/cli/main.ts');
const [binaries] = builds.slice(-1);
if (binaries === undefined) throw new Error('no PostgreSQL to test with');

let servers: LogicalServers;
let source: Awaited<ReturnType<LogicalServers['start']>>;
let target: Awaited<ReturnType<LogicalServers['start']>>;
beforeAll(async () => {
  servers = await LogicalServers.create(binaries);
  [source, target] = await Promise.all([servers.start('source'), servers.start('target')]);
});
afterAll(async () => servers[Symbol.asyncDispose]());

const follow = (name: string, tables: string): RunningFollow =>
  new RunningFollow({ from: source.url, to: target.url, name, tables: parseTables(tables) });

it('takes no publication of another role, who could leave tables out', async () => {
  await source.client.query(`CREATE TABLE planted (id int PRIMARY KEY); CREATE ROLE planter;
    CREATE PUBLICATION planted_by_another`);
  const ensure = (): Promise<void> =>
    ensurePublication(source.client, 'planted_by_another', parseTables('planted'));
  const { rows } = await source.client.query<{ name: string }>('SELECT current_database() AS name');
  await source.client.query(`GRANT CREATE ON DATABASE "${rows[0]?.name}" TO planter`);
  await source.client.query('ALTER PUBLICATION planted_by_another OWNER TO planter');
  await expect(ensure()).rejects.toMatchObject({ code: 'CONFIG_INVALID', details: { owner: 'planter' } });
  await source.client.query('ALTER PUBLICATION planted_by_another OWNER TO CURRENT_USER');
  await ensure();
});

it("writes as a superuser with the rights of the tables' owner", async () => {
  await source.client.query('CREATE TABLE owned (id int PRIMARY KEY, n int, tags text[], note text)');
  await target.client.query(`CREATE ROLE app; CREATE ROLE other; GRANT CREATE ON SCHEMA public TO app, other;
    SET ROLE app; CREATE TABLE owned (id int PRIMARY KEY, n int, tags text[], note text); CREATE TABLE seen (who text);
    GRANT ALL ON seen TO PUBLIC;
    CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS
      $$ BEGIN INSERT INTO public.seen VALUES (TG_OP || ' ' || current_user); RETURN NULL; END $$;
    CREATE TRIGGER look AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON owned EXECUTE FUNCTION look();
    ALTER TABLE owned ENABLE ALWAYS TRIGGER look;
    SET ROLE other; CREATE TABLE beside (id int PRIMARY KEY); RESET ROLE`);
  await source.client.query('CREATE TABLE beside (id int PRIMARY KEY)');
  await source.client.query(`INSERT INTO owned SELECT g, g, ARRAY['x'], NULL FROM generate_series(1, 20) g`);
  await using running = follow('rights', 'owned,beside');
  await running.caughtUp(source.client);
  await source.client.query(`BEGIN; INSERT INTO owned SELECT g, g, '{}', NULL FROM generate_series(21, 40) g;
    INSERT INTO beside SELECT generate_series(1, 20); UPDATE owned SET n = 0 WHERE id < 3; DELETE FROM owned WHERE id = 4; COMMIT`);
  // More than comes in one part.
  await source.client
    .query(`BEGIN; INSERT INTO owned SELECT g, g, NULL, repeat('x', 1000) FROM generate_series(100, 2600) g;
    INSERT INTO beside VALUES (99); COMMIT`);
  await running.caughtUp(source.client);
  expect(await readRows(target.client, 'owned')).toEqual(await readRows(source.client, 'owned'));
  expect(await readRows(target.client, 'beside')).toEqual(await readRows(source.client, 'beside'));
  await source.client.query('TRUNCATE owned; INSERT INTO owned VALUES (1, 1)');
  await running.caughtUp(source.client);
  await target.client.query('UPDATE owned SET n = 5');
  const [repaired] = await compareTables({
    from: source.url,
    to: target.url,
    tables: parseTables('owned'),
    follow: 'rights',
    repairs: true,
  });
  expect(repaired).toMatchObject({ repaired: 1 });
  expect(await readRows(target.client, 'owned')).toEqual(['(1,1,,)']);
  const seen = await target.client.query(
    `SELECT DISTINCT who FROM seen WHERE who NOT LIKE 'UPDATE lockstep' ORDER BY 1`,
  );
  expect(seen.rows.map(({ who }) => who)).toEqual(['DELETE app', 'INSERT app', 'TRUNCATE app', 'UPDATE app']);
  expect(running.follow.status).toMatchObject({ missingRows: 0, quarantined: 0 });
});

it('empties tables, and ends a copy, with the rights of their owner', async () => {
  await source.client.query(
    'CREATE TABLE late (id int PRIMARY KEY); INSERT INTO late SELECT generate_series(1, 20)',
  );
  await target.client
    .query(`CREATE ROLE late_owner; GRANT CREATE ON SCHEMA public TO late_owner; SET ROLE late_owner;
    CREATE TABLE late (id int PRIMARY KEY); CREATE TABLE late_seen (who text); GRANT ALL ON late_seen TO PUBLIC;
    CREATE FUNCTION late_look() RETURNS trigger LANGUAGE plpgsql AS
      $$ BEGIN INSERT INTO public.late_seen VALUES (TG_OP || ' ' || current_user); RETURN NULL; END $$;
    CREATE CONSTRAINT TRIGGER deferred AFTER INSERT ON late DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION late_look();
    CREATE TRIGGER emptied BEFORE TRUNCATE ON late EXECUTE FUNCTION late_look();
    ALTER TABLE late ENABLE ALWAYS TRIGGER deferred; ALTER TABLE late ENABLE ALWAYS TRIGGER emptied; RESET ROLE`);
  await using running = follow('late', 'late');
  await running.caughtUp(source.client);
  await running.stop();
  await using anew = new RunningFollow({
    from: source.url,
    to: target.url,
    name: 'late',
    tables: parseTables('late'),
    startsOver: true,
  });
  await anew.caughtUp(source.client);
  expect(await readRows(target.client, 'late')).toHaveLength(20);
  const seen = await target.client.query('SELECT DISTINCT who FROM late_seen ORDER BY 1');
  expect(seen.rows.map(({ who }) => who)).toEqual(['INSERT late_owner', 'TRUNCATE late_owner']);
});

it("calls none of the database's own functions in place of PostgreSQL's", async () => {
  const traps = `CREATE TABLE hijacked (id int PRIMARY KEY);
    CREATE FUNCTION public.trap() RETURNS void LANGUAGE plpgsql AS
      $$ BEGIN IF current_setting('application_name') LIKE 'lockstep%' THEN RAISE EXCEPTION 'trapped'; END IF; END $$;
    CREATE FUNCTION public.pg_is_in_recovery() RETURNS boolean LANGUAGE sql AS 'SELECT public.trap(); SELECT false';
    CREATE FUNCTION public.pg_current_wal_flush_lsn() RETURNS pg_lsn LANGUAGE sql AS $$ SELECT public.trap(); SELECT '0/1'::pg_lsn $$;
    CREATE FUNCTION public.format_type(oid, int) RETURNS text LANGUAGE sql AS $$ SELECT public.trap(); SELECT 'int'::text $$;
    CREATE FUNCTION public.to_timestamp(double precision) RETURNS timestamptz LANGUAGE sql AS $$ SELECT public.trap(); SELECT now() $$;
    ALTER DATABASE postgres SET search_path = public, pg_catalog;`;
  for (const { client } of [source, target]) await client.query(traps);
  try {
    await source.client.query('INSERT INTO hijacked VALUES (1)');
    await using running = follow('traps', 'hijacked');
    await running.caughtUp(source.client);
    await source.client.query('INSERT INTO hijacked VALUES (2)');
    await running.caughtUp(source.client);
    expect(await readRows(target.client, 'hijacked')).toEqual(['(1)', '(2)']);
  } finally {
    for (const { client } of [source, target])
      await client.query('ALTER DATABASE postgres RESET search_path');
  }
});

it('takes on no role that was set for the database', async () => {
  await source.client.query('CREATE ROLE assumed; ALTER DATABASE postgres SET role = assumed');
  try {
    const sessions = [
      connectToLeader(source.url, { applicationName: 'test' }),
      openSession(source.url, 'test'),
    ];
    for (const opening of sessions) {
      const client = await opening;
      const { rows } = await client.query('SELECT current_user = session_user AS "isItself"');
      expect(rows).toEqual([{ isItself: true }]);
      await client.end();
    }
  } finally {
    await source.client.query('ALTER DATABASE postgres RESET role');
  }
});

it('reads no view that has taken the place of a table', async () => {
  for (const { client } of [source, target]) {
    await client.query(`CREATE ROLE swapper; GRANT CREATE ON SCHEMA public TO swapper; SET ROLE swapper;
      CREATE TABLE swapped (id int PRIMARY KEY); INSERT INTO swapped VALUES (1); CREATE TABLE swap_seen (who text);
      GRANT ALL ON swap_seen TO PUBLIC;
      CREATE FUNCTION swap_note() RETURNS boolean LANGUAGE plpgsql AS
        $$ BEGIN INSERT INTO public.swap_seen VALUES (current_user); RETURN true; END $$; RESET ROLE`);
  }
  for (const { client } of [source, target]) {
    await client.query(`BEGIN; SET LOCAL ROLE swapper; ALTER TABLE swapped RENAME TO swapped_was;
      CREATE VIEW swapped AS SELECT id FROM swapped_was WHERE public.swap_note()`);
    const compared = compareTables({
      from: source.url,
      to: target.url,
      tables: parseTables('swapped'),
      follow: 'none',
      repairs: false,
    });
    compared.catch(() => undefined);
    await until('it waits', async () => {
      const { rowCount } = await client.query('SELECT FROM pg_locks WHERE NOT granted');
      return rowCount !== 0;
    });
    await client.query('COMMIT');
    await expect(compared).rejects.toThrow('is restricted');
    await client.query('DROP VIEW swapped; ALTER TABLE swapped_was RENAME TO swapped');
    expect((await client.query('SELECT FROM swap_seen')).rowCount).toBe(0);
  }
  const holder = await source.server.connect();
  try {
    await source.client.query(`SET ROLE swapper; ALTER TABLE swapped RENAME TO swapped_was;
      CREATE VIEW swapped AS SELECT id FROM swapped_was WHERE public.swap_note(); RESET ROLE`);
    await holder.query('BEGIN ISOLATION LEVEL REPEATABLE READ');
    const { rows } = await holder.query<{ snapshot: string }>('SELECT pg_export_snapshot() AS snapshot');
    await using link = await openLink({
      from: source.url,
      to: target.url,
      follow: 'none',
      snapshot: rows[0]?.snapshot ?? '',
      snapshotLsn: parseLsn('0/1'),
      tasks: [],
      jobs: 1,
      onBytes: () => undefined,
      onDone: () => undefined,
      signal: new AbortController().signal,
    });
    await expect(link.source.run('SELECT id FROM public.swapped')).rejects.toThrow('is restricted');
  } finally {
    await holder.end();
  }
});

it('refuses tables of its own that another role has made in its place', async () => {
  await target.client.query('CREATE ROLE squatter');
  await target.client.query('CREATE DATABASE squatted');
  const url = target.url.replace(/postgres$/, 'squatted');
  const client = await target.server.connect('squatted');
  await client.query(
    'CREATE SCHEMA lockstep_apply AUTHORIZATION squatter; CREATE TABLE public.t (id int PRIMARY KEY)',
  );
  await client.end();
  await source.client.query('CREATE TABLE t (id int PRIMARY KEY)');
  await using running = new RunningFollow({
    from: source.url,
    to: url,
    name: 'sq',
    tables: parseTables('t'),
  });
  await until('it ends', () => running.failure !== null);
  expect(running.failure).toMatchObject({
    code: 'CONFIG_INVALID',
    message: expect.stringContaining('"squatter"'),
  });
});

it.runIf(process.platform === 'linux')('shows no password to other users of the machine', async () => {
  for (const { client } of [source, target]) await client.query('CREATE TABLE hidden (id int PRIMARY KEY)');
  const password = /:([^:@]+)@/.exec(source.url)?.[1] ?? '';
  const child = spawn(
    process.execPath,
    [MAIN, 'follow', '--to', target.url, '--tables', 'hidden', '--name', 'hid'],
    {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, LOCKSTEP_FROM: source.url },
    },
  );
  let said = '';
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (chunk: Buffer) => (said += chunk.toString()));
  try {
    await until('it follows', () => said.includes('following'), 60_000);
    expect(await readFile(`/proc/${child.pid}/cmdline`, 'latin1')).not.toContain(password);
    await source.client.query(
      `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'lockstep follow hid'`,
    );
    await until('it tells of a lost connection', () => said.includes('terminating'), 60_000);
    expect(said).not.toContain(password);
  } finally {
    await killHard(child);
  }
});
