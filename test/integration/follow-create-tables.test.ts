import type pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createMissingTables } from '../../src/logical/follow/create-tables.ts';
import { builds, LogicalServers } from './logical-servers.ts';

/** What a target must have before. */
const TYPES = `CREATE TYPE mood AS ENUM ('glad', 'sad'); CREATE TYPE "odd ""name" AS ENUM ('a');
  CREATE DOMAIN small AS int CHECK (VALUE < 1000); CREATE TYPE pair AS (a int, b text);
  CREATE COLLATION plain FROM "C"; CREATE SCHEMA shop;
  CREATE FUNCTION shop.twice(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 2 * $1'`;
const TABLE = `CREATE TABLE shop.goods (id bigint NOT NULL, part smallint, name varchar(20) COLLATE public.plain, price numeric(10, 2),
  negative numeric(3, -2), at timestamp(3) with time zone, span interval day to second(2), flags bit(3), mood mood, moods mood[],
  odd "odd ""name"[], size small, both_of pair, names text[] NOT NULL, vector int2vector, code char(4), one "char",
  twice int GENERATED ALWAYS AS (shop.twice(part::int)) STORED,
  label text GENERATED ALWAYS AS (name || E'\\\\ it''s; (--' || "part") STORED, PRIMARY KEY (part, id))`;

describe.each(builds)('creating tables: PostgreSQL $major', (binaries) => {
  let servers: LogicalServers;
  let source: pg.Client;
  let target: pg.Client;

  beforeAll(async () => {
    servers = await LogicalServers.create(binaries);
    [{ client: source }, { client: target }] = await Promise.all([
      servers.start('source'),
      servers.start('target'),
    ]);
    for (const client of [source, target]) {
      await client.query(TYPES);
      await client.query('SET search_path = pg_catalog');
    }
    await source.query(`SET search_path = public; ${TABLE}; SET search_path = pg_catalog`);
  });
  afterAll(async () => servers[Symbol.asyncDispose]());

  it('makes them as they are at the source', async () => {
    const goods = { schema: 'shop', name: 'goods' };
    expect(await createMissingTables(source, target, [goods])).toEqual([goods]);
    const shape = `SELECT json_agg(json_build_array(attname, format_type(atttypid, atttypmod), attnotnull, attgenerated,
        (SELECT collname FROM pg_collation WHERE oid = attcollation), (SELECT pg_get_expr(adbin, adrelid) FROM pg_attrdef
          WHERE adrelid = attrelid AND adnum = attnum)) ORDER BY attnum) AS columns,
        (SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 'shop.goods'::regclass AND contype = 'p') AS key
      FROM pg_attribute WHERE attrelid = 'shop.goods'::regclass AND attnum > 0`;
    expect((await target.query(shape)).rows).toEqual((await source.query(shape)).rows);
  });

  it.each([
    ['a type', { type_name: 'oid DEFAULT lo_from_bytea(77, decode(repeat($$ab$$, 9), $$hex$$))' }],
    ['a type that ends the statement', { type_name: 'int4) AS SELECT lo_from_bytea(77, $$ab$$) --' }],
    ['a modifier', { type_name: 'varchar', type_modifier: '1) DEFAULT lo_from_bytea(77, $$ab$$' }],
    [
      'a collation',
      {
        type_name: 'text',
        collation_schema: 'pg_catalog',
        collation: 'C" DEFAULT (lo_from_bytea(77, $$ab$$))',
      },
    ],
    ['an expression', { generated: `1) STORED, b oid DEFAULT (lo_from_bytea(77, 'ab')` }],
    ['an expression that changes', { generated: `lo_from_bytea(77, 'ab')::int` }],
    ['an expression of another role', { generated: 'public.theirs(1)' }],
    ['a name', { name: 'id" int DEFAULT lo_from_bytea(77, $$ab$$), "b' }],
  ])('runs nothing that a source says in the place of %s', async (_what, said) => {
    await target.query(`DO $$ BEGIN IF to_regrole('app') IS NULL THEN CREATE ROLE app; END IF; END $$;
      CREATE OR REPLACE FUNCTION public.theirs(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1';
      ALTER FUNCTION public.theirs(int) OWNER TO app`);
    const column = {
      name: 'id',
      type_schema: 'pg_catalog',
      type_name: 'int4',
      // What was asked for before.
      type: 'type_name' in said ? said.type_name : 'integer',
      is_array: false,
      type_modifier: -1,
      collation_schema: null,
      collation: null,
      is_required: false,
      generated: null,
      ...said,
    };
    const hostile = { query: async (text: string) => ({ rows: text.includes('pg_index') ? [] : [column] }) };
    const fake = { schema: 'fake', name: 'fake' };
    const isHarmless = await createMissingTables(hostile as never, target, [fake]).then(
      () => true,
      () => false,
    );
    if (isHarmless) {
      // What is quoted is a name.
      expect(_what).toBe('a name');
      await target.query('INSERT INTO fake.fake DEFAULT VALUES; DROP SCHEMA fake CASCADE');
    } else
      expect((await target.query(`SELECT to_regclass('fake.fake') AS made`)).rows).toEqual([{ made: null }]);
    expect((await target.query('SELECT oid FROM pg_largeobject_metadata')).rows).toEqual([]);
  });
});
