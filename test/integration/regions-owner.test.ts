import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { removeOlder } from '../../src/multi-leader/apply/emptying.ts';
import { compareRegions } from '../../src/multi-leader/compare.ts';
import { counter, defineRegions } from '../../src/multi-leader/index.ts';
import { openSession } from '../../src/multi-leader/sessions.ts';
import { readShapes } from '../../src/multi-leader/tables/shape.ts';
import { publish } from '../../src/multi-leader/setup/publication.ts';
import { prepareWriters } from '../../src/multi-leader/setup/writers.ts';
import { prepareMetadata } from '../../src/multi-leader/setup/metadata.ts';
import { until } from './fixture.ts';
import { RegionServers } from './region-servers.ts';

/** Code of a table's owner that tries all it can to become a superuser, and an operator in everybody's way. */
const SCHEMA = `
CREATE ROLE shopkeeper LOGIN PASSWORD 'open';
GRANT USAGE ON SCHEMA public TO shopkeeper;
CREATE TABLE goods (id int PRIMARY KEY, name text, email text UNIQUE, written_by text);
CREATE VIEW kinds AS SELECT 'shop'::text AS kind;
GRANT SELECT ON kinds TO shopkeeper;
CREATE FUNCTION climb() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  NEW.written_by := current_user;
  IF NOT EXISTS (SELECT FROM public.kinds) THEN RAISE 'no kinds'; END IF;
  PERFORM set_config('restrict_nonsystem_relation_kind', '', false);
  BEGIN ALTER ROLE shopkeeper SUPERUSER; EXCEPTION WHEN insufficient_privilege THEN NULL; END;
  BEGIN RESET ROLE; ALTER ROLE shopkeeper SUPERUSER; EXCEPTION WHEN insufficient_privilege THEN NULL; END;
  BEGIN RESET SESSION AUTHORIZATION; ALTER ROLE shopkeeper SUPERUSER; EXCEPTION WHEN insufficient_privilege THEN NULL; END;
  PERFORM set_config('search_path', 'public', false);
  RETURN NEW;
END $$;
CREATE TRIGGER climb BEFORE INSERT OR UPDATE ON goods FOR EACH ROW EXECUTE FUNCTION climb();
ALTER TABLE goods ENABLE ALWAYS TRIGGER climb;
ALTER TABLE goods OWNER TO shopkeeper;
CREATE TYPE mood AS ENUM ('calm', 'wild');
CREATE TABLE moods (m mood PRIMARY KEY, n int);
GRANT ALL ON moods TO shopkeeper;
CREATE FUNCTION differ(mood, mood) RETURNS boolean LANGUAGE sql AS 'SELECT false';
CREATE OPERATOR public.= (LEFTARG = mood, RIGHTARG = mood, FUNCTION = differ);
CREATE TABLE tallies (id int PRIMARY KEY, n int NOT NULL);
CREATE TABLE stalls (id int PRIMARY KEY, name text);
CREATE TABLE wares (id int PRIMARY KEY, stall_id int REFERENCES stalls);
ALTER TABLE tallies OWNER TO shopkeeper; ALTER TABLE stalls OWNER TO shopkeeper; ALTER TABLE wares OWNER TO shopkeeper;
ALTER TABLE tallies REPLICA IDENTITY FULL; ALTER TABLE stalls REPLICA IDENTITY FULL;
CREATE TABLE casts_run (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, what text, who text);
GRANT ALL ON casts_run TO PUBLIC;
`;
const definition = defineRegions({
  tables: { tallies: { n: counter() } },
  foreignKeys: { 'wares.stall_id': 'restore-parent' },
  except: ['casts_run'],
});

/** How the owner of a type has it written as text, by whoever asks: noted with the role whose rights it has. */
const castOf = (type: string, text: string): string =>
  `CREATE FUNCTION tell_${type}(public.${type}) RETURNS text LANGUAGE plpgsql AS
     $$ BEGIN INSERT INTO public.casts_run (what, who) VALUES ('${type}', current_user); RETURN ${text}; END $$;
   CREATE CAST (${type} AS text) WITH FUNCTION tell_${type};`;

describe('what a region writes in tables of other owners', () => {
  let servers: RegionServers;
  const shops = new Map<string, pg.Client>();
  beforeAll(async () => {
    servers = await RegionServers.start(['eu', 'us'], SCHEMA, definition);
    for (const { name, url } of servers.regions) {
      const address = new URL(url);
      address.username = 'shopkeeper';
      address.password = 'open';
      const client = new pg.Client({ connectionString: address.href });
      await client.connect();
      shops.set(name, client);
    }
  });
  afterAll(async () => {
    await Promise.all([...shops.values()].map((client) => client.end()));
    await servers?.[Symbol.asyncDispose]();
  });

  /** Written by the owner, as an app does. */
  const write = (name: string, text: string, values: unknown[] = []): Promise<unknown> | undefined =>
    shops.get(name)?.query(text, values);

  const goodsIn = async (name: string): Promise<{ id: number; name: string; written_by: string }[]> => {
    const { rows } = await servers
      .at(name)
      .client.query('SELECT id, name, written_by FROM goods ORDER BY id');
    return rows;
  };

  it.each([
    ['eu', 'us', 1],
    ['us', 'eu', 2],
  ])('is written with their rights: from %s to %s', async (from, to, id) => {
    await write(from, 'BEGIN');
    await write(from, `INSERT INTO goods VALUES ($1, 'lamp', $2)`, [id, `${id}@x`]);
    await write(from, `INSERT INTO moods VALUES ($1, 1)`, [id === 1 ? 'calm' : 'wild']);
    await write(from, 'COMMIT');
    await write(from, 'BEGIN');
    await write(from, `UPDATE goods SET name = 'torch' WHERE id = $1`, [id]);
    await write(from, `UPDATE moods SET n = 2 WHERE m::text = $1`, [id === 1 ? 'calm' : 'wild']);
    await write(from, 'COMMIT');
    await until('both rows are there', async () => {
      const { rows } = await servers
        .at(to)
        .client.query('SELECT n FROM moods WHERE m::text = $1', [id === 1 ? 'calm' : 'wild']);
      return rows[0]?.n === 2 && (await goodsIn(to)).some((row) => row.id === id && row.name === 'torch');
    });
    expect((await goodsIn(to)).find((row) => row.id === id)?.written_by).toBe('shopkeeper');
    const { rows } = await servers
      .at(to)
      .client.query(`SELECT rolsuper FROM pg_roles WHERE rolname = 'shopkeeper'`);
    expect(rows).toEqual([{ rolsuper: false }]);
  });

  it('also row by row, where two regions gave one unique value, and when rows are deleted', async () => {
    await servers.setCut('eu', 'us', true);
    await write('eu', `INSERT INTO goods VALUES (11, 'eu', 'same@x')`);
    await write('us', `INSERT INTO goods VALUES (12, 'us', 'same@x')`);
    await servers.setCut('eu', 'us', false);
    const ids = async (): Promise<string> =>
      JSON.stringify(
        await Promise.all(['eu', 'us'].map(async (one) => (await goodsIn(one)).map(({ id }) => id))),
      );
    await until('the later one stands', async () => (await ids()) === '[[1,2,12],[1,2,12]]');
    await write('eu', 'DELETE FROM goods WHERE id = 12');
    await until('the earlier one is back', async () => (await ids()) === '[[1,2,11],[1,2,11]]');
  });

  it('is read as text by no cast of theirs', async () => {
    await write('eu', `INSERT INTO tallies VALUES (1, 1)`);
    await write('eu', `INSERT INTO stalls VALUES (1, 'lamps')`);
    const both = async (sql: string): Promise<string> =>
      JSON.stringify(
        await Promise.all(servers.regions.map(async ({ client }) => (await client.query(sql)).rows)),
      );
    const stalls = 'SELECT id, name FROM stalls';
    await until('the stall is there', async () => !(await both(stalls)).includes('[]'));
    for (const { client } of servers.regions) {
      for (const type of ['goods', 'tallies', 'stalls', 'wares'])
        await client.query(castOf(type, 'ROW($1.*)::text'));
      await client.query(castOf('mood', `format('%s', $1)`));
    }
    await servers.setCut('eu', 'us', true);
    await write('eu', `INSERT INTO goods VALUES (21, 'eu', 'again@x')`);
    await write('us', `INSERT INTO goods VALUES (22, 'us', 'again@x')`);
    await write('eu', 'UPDATE tallies SET n = n + 2');
    await write('us', 'UPDATE tallies SET n = n + 3');
    await write('eu', 'DELETE FROM stalls');
    await write('us', 'INSERT INTO wares VALUES (1, 1)');
    await servers.setCut('eu', 'us', false);
    const wanted = JSON.stringify([{ n: 6, ids: [1, 2, 11, 22], name: 'lamps', ware: 1 }]);
    await until(
      'all has merged',
      async () =>
        (await both(`SELECT (SELECT n FROM tallies), (SELECT json_agg(id ORDER BY id) FROM goods) AS ids,
          (SELECT name FROM stalls), (SELECT id FROM wares) AS ware`)) === `[${wanted},${wanted}]`,
      30_000,
    );
    expect(await servers.compare()).toMatchObject({ isEqual: true });
    expect(await both('SELECT what, who FROM casts_run')).toBe('[[],[]]');
  });

  it('is written by functions that no owner of a table reaches', async () => {
    const { client, url } = servers.at('eu');
    const { rows } = await client.query<{ name: string }>(
      `SELECT p.oid::regprocedure::text AS name FROM pg_proc p WHERE p.proname LIKE 'write_as_%'`,
    );
    expect(rows).toHaveLength(1);
    // As people are told to, who are to read the log of conflicts.
    await client.query(`GRANT USAGE ON SCHEMA lockstep_regions TO shopkeeper;
      GRANT SELECT ON lockstep_regions.conflicts TO shopkeeper`);
    await expect(write('eu', `ALTER FUNCTION ${rows[0]?.name} SECURITY INVOKER`)).rejects.toThrow(
      'permission denied for schema lockstep_writers',
    );
    const session = await openSession(url, 'test');
    try {
      const shapes = [...(await readShapes(session, {})).values()];
      await client.query(
        `CREATE ROLE curious NOINHERIT; GRANT curious TO shopkeeper; ALTER ROLE shopkeeper NOINHERIT`,
      );
      for (const role of ['PUBLIC', 'curious']) {
        await client.query(`GRANT USAGE ON SCHEMA lockstep_writers TO ${role}`);
        await expect(prepareWriters(session, shapes), role).rejects.toMatchObject({
          code: 'CONFIG_INVALID',
          message: expect.stringContaining('"shopkeeper"'),
        });
        await client.query(`REVOKE ALL ON SCHEMA lockstep_writers FROM ${role}`);
      }
      await prepareWriters(session, shapes);
    } finally {
      await session.end();
    }
  });

  it('is not read by name where a view has taken its place', async () => {
    const { client, url } = servers.at('eu');
    await client.query('CREATE DATABASE swapped');
    const address = new URL(url);
    address.pathname = '/swapped';
    const session = await openSession(address.href, 'test');
    try {
      await session.query(`CREATE TABLE public.seen (who text); GRANT ALL ON public.seen TO PUBLIC;
        CREATE TABLE public.taken (id int PRIMARY KEY); INSERT INTO public.taken VALUES (1);
        GRANT CREATE ON SCHEMA public TO shopkeeper; ALTER TABLE public.taken OWNER TO shopkeeper`);
      await prepareMetadata(session, { name: 'eu', names: ['eu', 'us'], definition: {} });
      const shapes = await readShapes(session, { except: ['seen'] });
      const shape = shapes.get('public.taken');
      if (shape === undefined) throw new Error('the table is not shared');
      await session.query(`SET ROLE shopkeeper; ALTER TABLE public.taken RENAME TO was;
        CREATE FUNCTION public.note(int) RETURNS int LANGUAGE plpgsql AS
          $$ BEGIN INSERT INTO public.seen VALUES (current_user); RETURN $1; END $$;
        CREATE VIEW public.taken AS SELECT public.note(id) AS id, '1'::xid AS xmin FROM public.was; RESET ROLE`);
      const version = { timeUs: 1, region: 0, lsn: 1n };
      const refused = expect.objectContaining({ message: expect.stringContaining('is restricted') });
      for (const when of ['applied', 'forgotten'] as const)
        await expect(removeOlder(session, shape, 0, version, when)).rejects.toEqual(refused);
      await expect(compareRegions([{ name: 'eu', client: session }], [shape])).rejects.toEqual(refused);
      expect((await session.query('SELECT who FROM public.seen')).rows).toEqual([]);
    } finally {
      await session.end();
    }
  });

  it('is not begun where another role has made the schema, or something in it', async () => {
    const { client, url } = servers.at('eu');
    await client.query('CREATE DATABASE squatted');
    const address = new URL(url);
    address.pathname = '/squatted';
    const squatted = new pg.Client({ connectionString: address.href });
    try {
      await squatted.connect();
      for (const made of [
        'CREATE SCHEMA lockstep_regions AUTHORIZATION shopkeeper',
        'CREATE SCHEMA lockstep_regions; CREATE TABLE lockstep_regions.regions (own text); ALTER TABLE lockstep_regions.regions OWNER TO shopkeeper',
        `CREATE SCHEMA lockstep_regions; CREATE FUNCTION lockstep_regions.write_for_1() RETURNS int LANGUAGE sql AS 'SELECT 1';
         ALTER FUNCTION lockstep_regions.write_for_1() OWNER TO shopkeeper`,
      ]) {
        await squatted.query(made);
        const place = { name: 'eu', names: ['eu', 'us'], definition: {} };
        await expect(prepareMetadata(squatted, place), made).rejects.toMatchObject({
          code: 'CONFIG_INVALID',
          message: expect.stringContaining('"shopkeeper"'),
        });
        await squatted.query('DROP SCHEMA lockstep_regions CASCADE');
      }
    } finally {
      await squatted.end();
    }
  });

  it('is not shared where values are checked by code of theirs, however deep in their type', async () => {
    const { client, url } = servers.at('eu');
    await client.query('CREATE DATABASE checked');
    const address = new URL(url);
    address.pathname = '/checked';
    const session = await openSession(address.href, 'test');
    const types = {
      dom: 'dom',
      doms: 'dom[]',
      span: 'span',
      spans: 'span[]',
      multi: 'spans',
      multis: 'spans[]',
    };
    try {
      await session.query(`CREATE DOMAIN public.dom AS int CHECK (VALUE > 0);
        CREATE TYPE public.span AS RANGE (subtype = public.dom, multirange_type_name = public.spans)`);
      for (const [name, type] of Object.entries({ ...types, fine: 'int4multirange[]' })) {
        const named = type.includes('4') ? type : `public.${type}`;
        await session.query(`CREATE TABLE public.has_${name} (id int PRIMARY KEY, v ${named});
          ALTER TABLE public.has_${name} OWNER TO shopkeeper`);
      }
      const problems = Object.keys(types).map((name) =>
        expect.stringMatching(new RegExp(`^public.has_${name} .*whose values are checked`)),
      );
      await expect(readShapes(session, {})).rejects.toMatchObject({
        details: { problems: expect.toSatisfy((all) => all.length === problems.length) },
      });
      await expect(readShapes(session, {})).rejects.toMatchObject({
        details: { problems: expect.arrayContaining(problems) },
      });
    } finally {
      await session.end();
    }
  });

  it('is not published by what another role has made, and a change of that is told', async () => {
    const { client, url } = servers.at('eu');
    const trouble = async (): Promise<string> => (await servers.at('eu').region.status()).problem ?? '';
    const said = (words: string): Promise<true> =>
      until(`it says "${words}"`, async () => (await trouble()).includes(words));
    for (const [change, words, back] of [
      ['OWNER TO shopkeeper', 'belongs to "shopkeeper"', 'OWNER TO CURRENT_USER'],
      [
        `SET (publish = 'insert')`,
        'does not publish just',
        `SET (publish = 'insert, update, delete, truncate')`,
      ],
      ['DROP TABLE tallies', 'does not publish public.tallies whole', 'ADD TABLE tallies'],
    ]) {
      await client.query(`ALTER PUBLICATION lockstep_regions ${change}`);
      await said(words ?? '');
      await client.query(`ALTER PUBLICATION lockstep_regions ${back}`);
      await until('all is well', async () => (await trouble()) === '');
    }
    await client.query('CREATE DATABASE premade');
    const address = new URL(url);
    address.pathname = '/premade';
    const session = await openSession(address.href, 'test');
    const published = async (): Promise<unknown[]> =>
      (await session.query('SELECT tablename AS name, rowfilter FROM pg_publication_tables ORDER BY 1')).rows;
    try {
      await session.query(`CREATE TABLE public.a (id int PRIMARY KEY); CREATE TABLE public.b (id int PRIMARY KEY);
        CREATE PUBLICATION lockstep_regions FOR TABLE public.a WHERE (id > 1);
        ALTER PUBLICATION lockstep_regions OWNER TO shopkeeper`);
      const shapes = [...(await readShapes(session, {})).values()];
      await expect(publish(session, shapes)).rejects.toMatchObject({
        code: 'CONFIG_INVALID',
        message: expect.stringContaining('belongs to "shopkeeper"'),
      });
      await session.query('ALTER PUBLICATION lockstep_regions OWNER TO CURRENT_USER');
      await publish(session, shapes);
      expect(await published()).toEqual([
        { name: 'a', rowfilter: null },
        { name: 'b', rowfilter: null },
      ]);
      await session.query(`ALTER PUBLICATION lockstep_regions SET (publish = 'insert')`);
      await expect(publish(session, shapes)).rejects.toThrow('does not publish just');
    } finally {
      await session.end();
    }
  });
});
