import type pg from 'pg';
import { LockstepError } from '../../model/errors.ts';
import { readOnlyTables } from '../../wire/only-tables.ts';

export interface TableColumn {
  readonly name: string;
  /** Quoted, with its schema. */
  readonly type: string;
  /** Its type is none of PostgreSQL's own: making a value of it may run the app's code. */
  readonly isAppType: boolean;
}

/** A table as one server has it. */
export interface TableShape {
  readonly oid: number;
  readonly schema: string;
  readonly name: string;
  /** Quoted, with its schema. */
  readonly sql: string;
  readonly fileNode: number;
  /** The role it belongs to. */
  readonly owner: string;
  /** Its policies apply to its owner too. */
  readonly limitsOwner: boolean;
  /** All but generated ones, in their order. */
  readonly columns: readonly TableColumn[];
  /** Of the primary key; empty where there is none. */
  readonly key: readonly string[];
}

/** Source: PostgreSQL's src/include/access/transam.h, FirstNormalObjectId. */
export const FIRST_APP_OID = 16_384;

const SHAPE_SQL = `
SELECT class.oid::int8::int AS oid, space.nspname AS schema, class.relname AS name,
       format('%I.%I', space.nspname, class.relname) AS sql,
       coalesce(pg_relation_filenode(class.oid), 0)::int8::int AS "fileNode",
       pg_get_userbyid(relowner) AS owner,
       relrowsecurity AND relforcerowsecurity
         AND NOT (SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE pg_roles.oid = relowner) AS "limitsOwner",
       (SELECT json_agg(json_build_object('name', attname, 'type', format_type(atttypid, atttypmod),
                                          'isAppType', atttypid >= ${FIRST_APP_OID}) ORDER BY attnum)
          FROM pg_attribute WHERE attrelid = class.oid AND attnum > 0 AND NOT attisdropped AND attgenerated = '') AS columns,
       coalesce((SELECT json_agg(attname ORDER BY position)
          FROM pg_index, unnest(indkey::int2[]) WITH ORDINALITY AS part(number, position)
          JOIN pg_attribute ON attrelid = class.oid AND attnum = part.number
         WHERE indrelid = class.oid AND indisprimary), '[]') AS key
  FROM pg_class AS class JOIN pg_namespace AS space ON space.oid = class.relnamespace
 WHERE class.oid = to_regclass(CASE WHEN cardinality(parse_ident($1::text)) = 1 THEN 'public.' || $1::text ELSE $1::text END)
   AND class.relkind IN ('r', 'p')`;

/**
 * What both sides have to write values alike, for they are compared as text. Only PostgreSQL's own functions and operators
 * are found: the app could make some of the same names, which would run as superuser here.
 */
const SESSION_SQL = `
SET TimeZone = 'UTC'; SET DateStyle = 'ISO, YMD'; SET IntervalStyle = 'postgres'; SET extra_float_digits = 3;
SET bytea_output = 'hex'; SET default_transaction_read_only = off; SET search_path = pg_catalog;
SET statement_timeout = 0; SET client_min_messages = warning`;

/** To be run on both servers first. Throws CONFIG_INVALID for a server that is too old to read nothing but tables. */
export async function prepareSession(client: pg.Client): Promise<void> {
  await client.query(SESSION_SQL);
  await readOnlyTables(client);
}

/** The table of a name, in `public` when it has no schema; null when there is none. */
export async function findTable(client: pg.Client, name: string): Promise<TableShape | null> {
  const { rows } = await client.query<TableShape>(SHAPE_SQL, [name]).catch((error: unknown) => {
    throw new LockstepError(
      'CONFIG_INVALID',
      `"${name}" is no name of a table: ${(error as Error).message}.`,
      {
        cause: error,
      },
    );
  });
  return rows[0] ?? null;
}

/** All tables of the database that are not PostgreSQL's own, with their rows counted; but none with rows on another server. */
export async function countTables(client: pg.Client): Promise<ReadonlyMap<string, number>> {
  const { rows } = await client.query<{ sql: string; label: string }>(
    `SELECT format('%I.%I', space.nspname, class.relname) AS sql,
            CASE WHEN space.nspname = 'public' THEN quote_ident(class.relname)
                 ELSE format('%I.%I', space.nspname, class.relname) END AS label
       FROM pg_class AS class JOIN pg_namespace AS space ON space.oid = class.relnamespace
      WHERE class.relkind IN ('r', 'p') AND NOT class.relispartition AND class.oid >= 16384
        AND space.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast') AND class.relpersistence <> 't'
        AND CASE WHEN class.relkind = 'p' THEN NOT EXISTS (
              SELECT FROM pg_partition_tree(class.oid) AS part JOIN pg_class AS leaf ON leaf.oid = part.relid AND leaf.relkind = 'f')
            ELSE true END
      ORDER BY 2`,
  );
  const counts = new Map<string, number>();
  for (const { sql, label } of rows) {
    const counted = await client.query<{ count: string }>(`SELECT count(*) AS count FROM ${sql}`);
    counts.set(label, Number(counted.rows[0]?.count ?? 0));
  }
  return counts;
}
