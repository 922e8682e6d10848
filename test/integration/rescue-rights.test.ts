import type pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { systemClock } from '../../src/clock/system-clock.ts';
import { readLostRows } from '../../src/leader-follower/rejoin/lost-rows.ts';
import { LogReading } from '../../src/leader-follower/rejoin/core/lost-writes.ts';
import { compareTable } from '../../src/leader-follower/rescue/compare.ts';
import type { RescueSides } from '../../src/leader-follower/rescue/compare.ts';
import { restoreTables } from '../../src/leader-follower/rescue/restore.ts';
import { countTables as countRowsOf } from '../../src/leader-follower/delayed/row-count.ts';
import { countTables, prepareSession } from '../../src/leader-follower/rescue/tables.ts';
import type { PostgresServer } from '../../src/postgres/server.ts';
import { until } from './fixture.ts';
import { builds, LogicalServers } from './logical-servers.ts';

/** Code of an app's role that notes with whose rights it runs, and tries every way to become the superuser who calls it. */
const APP = `
CREATE TABLE seen (who text, how text);
CREATE FUNCTION saw(how text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN
  INSERT INTO public.seen VALUES (current_user, how); RETURN true; END $$;
CREATE FUNCTION note(how text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN
  PERFORM public.saw(how);
  BEGIN EXECUTE 'RESET ROLE'; PERFORM public.saw(how || ' reset'); EXCEPTION WHEN OTHERS THEN NULL; END;
  BEGIN EXECUTE 'RESET SESSION AUTHORIZATION'; PERFORM public.saw(how || ' session'); EXCEPTION WHEN OTHERS THEN NULL; END;
  BEGIN EXECUTE format('DECLARE %I CURSOR WITH HOLD FOR SELECT public.saw(%L)', gen_random_uuid(), how || ' cursor');
  EXCEPTION WHEN OTHERS THEN NULL; END;
  RETURN true; END $$;
CREATE FUNCTION noted(how text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN
  PERFORM public.unwise(how); RETURN how; END $$;
CREATE FUNCTION unwise(how text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM public.note(how); END $$;
CREATE FUNCTION on_row() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM public.note(TG_NAME); RETURN NEW; END $$;
CREATE TYPE mood AS ENUM ('glad', 'sad');
CREATE FUNCTION mood_json(mood) RETURNS json LANGUAGE plpgsql AS $$ BEGIN PERFORM public.note('json'); RETURN '1'; END $$;
CREATE FUNCTION mood_text(mood) RETURNS text LANGUAGE plpgsql AS $$ BEGIN PERFORM public.note('text'); RETURN 'x'; END $$;
CREATE CAST (mood AS json) WITH FUNCTION mood_json(mood);
CREATE CAST (mood AS text) WITH FUNCTION mood_text(mood) AS ASSIGNMENT;
CREATE DOMAIN checked AS text CHECK (note('domain'));
CREATE DOMAIN small AS integer CHECK (VALUE < 1000);
CREATE TYPE pair AS (a integer, b checked);`;

function table(name: string): string {
  return `
CREATE TABLE public.${name} (id integer PRIMARY KEY, mood public.mood, moods public.mood[], name public.checked, size public.small,
  both_of public.pair, twice text GENERATED ALWAYS AS (public.noted('generated' || id)) STORED, CHECK (public.note('check')));
CREATE INDEX ON public.${name} (public.noted('index' || id));
CREATE TRIGGER each_row BEFORE INSERT OR UPDATE ON public.${name} FOR EACH ROW EXECUTE FUNCTION public.on_row();
CREATE CONSTRAINT TRIGGER deferred AFTER INSERT OR UPDATE ON public.${name} DEFERRABLE INITIALLY DEFERRED
  FOR EACH ROW EXECUTE FUNCTION public.on_row();
ALTER TABLE public.${name} ENABLE ALWAYS TRIGGER each_row;
ALTER TABLE public.${name} ENABLE ALWAYS TRIGGER deferred;
ALTER TABLE public.${name} OWNER TO app;`;
}

const ROWS = `VALUES (1, 'glad'::mood, '{glad,sad}'::mood[], 'one', 10, '(1,"a b")'::pair),
  (2, 'sad', NULL, 'two, "too"', NULL, NULL), (3, NULL, '{}', NULL, 30, '(,)')`;

async function others(client: pg.Client): Promise<readonly unknown[]> {
  const { rows } = await client.query(`SELECT DISTINCT how FROM public.seen WHERE who <> 'app' ORDER BY 1`);
  return rows;
}

async function ways(client: pg.Client): Promise<readonly string[]> {
  const { rows } = await client.query<{ how: string }>('SELECT DISTINCT how FROM public.seen ORDER BY 1');
  return rows.map(({ how }) => how);
}

/** A role's own table becomes a view, once somebody who has found the table waits to read it. */
async function swapWhile<T>(app: pg.Client, name: string, task: () => Promise<T>): Promise<T> {
  await app.query(
    `SET ROLE app; CREATE TABLE public.${name} (id integer PRIMARY KEY); INSERT INTO public.${name} VALUES (1)`,
  );
  await app.query(`BEGIN; ALTER TABLE public.${name} RENAME TO ${name}_was;
    CREATE VIEW public.${name} AS SELECT id, '1'::xid AS xmin, '0'::xid AS xmax FROM public.${name}_was WHERE public.note('view ${name}')`);
  const done = task();
  done.catch(() => undefined);
  await until('somebody waits', async () => {
    const { rows } = await app.query('SELECT FROM pg_locks WHERE NOT granted');
    return rows.length > 0;
  });
  await app.query('COMMIT; RESET ROLE');
  return done;
}

describe.each(builds)('what an app has made never runs as superuser: PostgreSQL $major', (binaries) => {
  let servers: LogicalServers;
  let server: PostgresServer;
  let sides: RescueSides;

  beforeAll(async () => {
    servers = await LogicalServers.create(binaries);
    const { client: admin, server: started } = await servers.start('server');
    server = started;
    await admin.query('CREATE ROLE app');
    await admin.query('CREATE DATABASE present OWNER app');
    const making = await server.connect('present');
    await making.query('GRANT ALL ON SCHEMA public TO app; SET search_path = public; SET ROLE app');
    await making.query(APP);
    for (const name of ['items', 'gone']) {
      await making.query(table(name));
      await making.query(`INSERT INTO ${name} (id, mood, moods, name, size, both_of) ${ROWS}`);
    }
    await making.query(
      `SET ROLE app; CREATE TABLE numbered (id serial PRIMARY KEY, other bigserial); INSERT INTO numbered SELECT FROM generate_series(1, 3)`,
    );
    await making.query(
      'ALTER TABLE items ENABLE ROW LEVEL SECURITY; ALTER TABLE items FORCE ROW LEVEL SECURITY; DELETE FROM seen',
    );
    await making.query(
      `CREATE POLICY every ON items USING (public.note('policy')) WITH CHECK (public.note('policy'))`,
    );
    await making.end();
    await admin.query('CREATE DATABASE past TEMPLATE present');
    // In a session that took this role on, the policy below would throw it off again.
    await admin.query('ALTER DATABASE present SET role = app; ALTER DATABASE past SET role = app');
    const [past, present] = [await server.connect('past'), await server.connect('present')];
    expect(await countTables(present)).toEqual(await countTables(past));
    await prepareSession(past);
    await prepareSession(present);
    sides = { past, present, mistake: [], onlyUpdated: new Set() };
  }, 90_000);

  afterAll(async () => {
    await Promise.all([sides?.past.end(), sides?.present.end()].map((end) => end?.catch(() => undefined)));
    await servers?.[Symbol.asyncDispose]();
  }, 30_000);

  it('when a view takes the place of a table that was found', async () => {
    const { present } = sides;
    const open = (): Promise<pg.Client> => server.connect('present');
    const [app, reading, beside] = [await open(), await open(), await open()];
    try {
      await prepareSession(reading);
      await prepareSession(beside);
      await expect(swapWhile(app, 'swapped1', () => countTables(reading))).rejects.toThrow('is restricted');
      const alike = { ...sides, past: beside, present: reading };
      await expect(swapWhile(app, 'swapped2', () => compareTable(alike, 'swapped2', null))).rejects.toThrow(
        'is restricted',
      );
      const counted = await swapWhile(app, 'swapped3', async () => {
        const { rows } = await present.query<{ oid: number }>(
          `SELECT 'public.swapped3'::regclass::oid::int8::int AS oid`,
        );
        const table = {
          database: 'present',
          databaseOid: 1,
          oid: rows[0]?.oid ?? 0,
          fileNode: 1,
          name: '',
          isTable: true,
          rows: null,
        };
        return countRowsOf(open, [table], [{ file: '1/1', limit: 9 }]);
      });
      expect(counted.rows).toEqual(new Map());
      expect(await others(present)).toEqual([]);
    } finally {
      await app.query(
        `DROP TABLE IF EXISTS public.swapped1_was, public.swapped2_was, public.swapped3_was CASCADE`,
      );
      await Promise.all([app.end(), reading.end(), beside.end()]);
    }
  });

  it('when rows of a table are put back and set back', async () => {
    const { past, present } = sides;
    await present.query('SET session_replication_role = replica');
    await present.query(`ALTER TABLE public.items DISABLE TRIGGER ALL; DELETE FROM public.items WHERE id = 1;
      UPDATE public.items SET size = 5 WHERE id = 3; ALTER TABLE public.items ENABLE ALWAYS TRIGGER each_row;
      ALTER TABLE public.items ENABLE ALWAYS TRIGGER deferred`);
    await present.query('DELETE FROM public.seen');
    await present.query('SET session_replication_role = origin');

    const comparison = await compareTable(sides, 'items', `public.note('where') AND id > 0`);
    expect(comparison.counts).toEqual({ missing: 1, changed: 0, newer: 1 });
    expect(await ways(past)).toEqual(['where']);
    expect(
      await restoreTables(sides, { dropped: null, tables: [comparison], where: null, keepsNewer: false }),
    ).toEqual([{ table: 'items', inserted: 1, updated: 1, kept: [], keptCount: 0 }]);
    expect(await ways(present)).toEqual([
      'check',
      'deferred',
      'domain',
      'each_row',
      'generated1',
      'generated3',
      'index1',
    ]);
    expect([await others(past), await others(present)]).toEqual([[], []]);
    const rows = 'SELECT i::text AS row FROM public.items AS i ORDER BY id';
    expect((await present.query(rows)).rows).toEqual((await past.query(rows)).rows);
    const { rows: forced } = await present.query(
      `SELECT relforcerowsecurity AS forced FROM pg_class WHERE oid = 'public.items'::regclass`,
    );
    expect(forced).toEqual([{ forced: true }]);
  });

  it('when a trigger of the app refuses the rows: the leader is as it was', async () => {
    const { present } = sides;
    await present.query(`SET ROLE app; CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE 'not in the holidays'; END $$; DELETE FROM public.numbered WHERE id = 3;
      CREATE TRIGGER refuse BEFORE INSERT ON public.numbered FOR EACH ROW EXECUTE FUNCTION public.refuse();
      ALTER TABLE public.numbered ENABLE ALWAYS TRIGGER refuse; RESET ROLE`);
    const tables = [await compareTable(sides, 'numbered', null)];
    await expect(
      restoreTables(sides, { dropped: null, tables, where: null, keepsNewer: true }),
    ).rejects.toMatchObject({
      code: 'POSTGRES_FAILED',
      outcome: 'not-applied',
      message: expect.stringMatching(/leader is as it was.*not in the holidays/),
    });
    const { rows } = await present.query('SELECT count(*)::int AS count FROM public.numbered');
    expect(rows).toEqual([{ count: 2 }]);
    await present.query(
      'DROP TRIGGER refuse ON public.numbered; INSERT INTO public.numbered (id, other) VALUES (3, 3)',
    );
  });

  it('when a dropped table is filled again', async () => {
    const { past, present } = sides;
    await present.query('DROP TABLE public.gone; DELETE FROM public.seen');
    await past.query('DELETE FROM public.seen');
    const dropped = {
      objects: [],
      tables: [{ schema: 'public', name: 'gone' }],
      before: table('gone'),
      after: '',
    };
    const comparison = await compareTable(sides, 'gone', `public.note('where') AND id > 1`);
    const restored = await restoreTables(sides, {
      dropped,
      tables: [comparison],
      where: null,
      keepsNewer: true,
    });
    expect(restored).toMatchObject([{ table: 'gone', inserted: 2 }]);
    expect(await ways(present)).toContain('generated2');
    expect([await others(past), await others(present)]).toEqual([[], []]);
    const rows = 'SELECT g::text AS row FROM public.gone AS g WHERE id > 1 ORDER BY id';
    expect((await present.query(rows)).rows).toEqual((await past.query(rows)).rows);
  });

  it('when a view has the name that a sequence had', async () => {
    const { past, present } = sides;
    await present.query(`SET ROLE app; DELETE FROM public.numbered WHERE id = 1; ALTER TABLE public.numbered ALTER id DROP DEFAULT;
      DROP SEQUENCE public.numbered_id_seq; CREATE VIEW public.numbered_id_seq AS
        SELECT CASE WHEN public.note('sequence') THEN 9999::bigint END AS last_value, true AS is_called;
      ALTER SEQUENCE public.numbered_other_seq RESTART; DELETE FROM public.seen; RESET ROLE`);
    const restored = await restoreTables(sides, {
      dropped: null,
      tables: [await compareTable(sides, 'numbered', null)],
      where: null,
      keepsNewer: true,
    });
    expect(restored).toMatchObject([{ table: 'numbered', inserted: 1 }]);
    expect([await ways(present), await others(past)]).toEqual([[], []]);
    const { rows } = await present.query('SELECT last_value, is_called FROM public.numbered_other_seq');
    expect(rows).toEqual([{ last_value: '3', is_called: true }]);
  });

  it('when rows that a failover lost are put aside', async () => {
    const { past } = sides;
    await past.query('DELETE FROM public.seen');
    const { rows: found } = await past.query<{ xid: string; database: number; file: number }>(
      `SELECT xmin::text AS xid, (SELECT oid::int8::int FROM pg_database WHERE datname = 'past') AS database,
              pg_relation_filenode('public.items')::int8::int AS file FROM public.items LIMIT 1`,
    );
    const [{ xid, database, file } = { xid: '0', database: 0, file: 0 }] = found;
    const log = new LogReading();
    log.transactions.push({ xid: Number(xid), kind: 'commit', at: '', lsn: '0/1', subxids: [] });
    log.tables.set('items', {
      databaseOid: database,
      fileNode: file,
      counts: new Map([[Number(xid), { inserted: 3, updated: 0, deleted: 0 }]]),
      blocks: new Set([0]),
    });
    const lost = await readLostRows({
      log,
      withClient: (task) => task(past),
      clock: systemClock,
      timeoutMs: 30_000,
    });
    expect(lost.rows.map(({ json }) => JSON.parse(json) as unknown)).toEqual([
      {
        id: 1,
        mood: 'glad',
        moods: '{glad,sad}',
        name: 'one',
        size: 10,
        both_of: '(1,"a b")',
        twice: 'generated1',
      },
      { id: 2, mood: 'sad', moods: null, name: 'two, "too"', size: null, both_of: null, twice: 'generated2' },
      { id: 3, mood: null, moods: '{}', name: null, size: 30, both_of: '(,)', twice: 'generated3' },
    ]);
    expect(await ways(past)).toEqual([]);
  });
});
