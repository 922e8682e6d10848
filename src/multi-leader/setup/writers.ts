import type pg from 'pg';
import { LockstepError } from '../../model/errors.ts';
import { quoteIdentifier } from '../../logical/core/quote.ts';
import { checkOwner } from './metadata.ts';
import { SESSION_SETTINGS } from '../merge/journal-store.ts';
import type { TableOwner, TableShape } from '../tables/shape.ts';
import { canReadOnlyTables, MAY_READ_VIEWS, ONLY_TABLES } from '../../wire/only-tables.ts';
import { SCHEMA, WRITERS_SCHEMA, writerOf } from '../tables/statements.ts';

/** Which of the owners ($1), alone or as a member of another role, may look into the writers' schema or make something in it. */
const INTRUDERS_SQL = `
SELECT o.rolname AS owner, m.rolname AS as FROM pg_roles o CROSS JOIN pg_roles m
 WHERE o.oid = ANY ($1::oid[]) AND pg_has_role(o.oid, m.oid, 'MEMBER') AND NOT m.rolsuper AND m.rolname <> current_user
   AND has_schema_privilege(m.oid, $2, 'USAGE, CREATE')
 ORDER BY o.oid <> m.oid, 1, 2 LIMIT 1`;

/** Those of a version before, which were in a schema that people may be let into. */
const FORMER_SQL = `
SELECT p.oid::regprocedure::text AS former FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
 WHERE n.nspname = $1 AND starts_with(p.proname, 'write_as_')`;

/**
 * Changes are written with the rights of each table's owner, and not with those of the link: triggers, CHECK constraints
 * and indexes run code that the owner wrote. `SET ROLE` would not do, since such code could set it back; in a function
 * with the owner's rights it cannot. One function an owner, for all the tables of that owner. It is the owner's, who could
 * have it run with its caller's rights; so it is where no owner reaches it. Throws CONFIG_INVALID where one does.
 */
export async function prepareWriters(client: pg.Client, shapes: readonly TableShape[]): Promise<void> {
  const owners = new Map(shapes.flatMap(({ writeAs }) => (writeAs === null ? [] : [[writeAs.oid, writeAs]])));
  const readsTables = await canReadOnlyTables(client);
  await client.query('BEGIN');
  try {
    await client.query(`CREATE SCHEMA IF NOT EXISTS ${WRITERS_SCHEMA}`);
    await checkOwner(client, WRITERS_SCHEMA);
    for (const owner of owners.values()) await client.query(writerSql(owner, readsTables));
    await refuseIntruders(client, [...owners.keys()]);
    const { rows } = await client.query<{ former: string }>(FORMER_SQL, [SCHEMA]);
    for (const { former } of rows) await client.query(`DROP FUNCTION ${former}`);
    await client.query('COMMIT');
  } catch (error) {
    await client.query('ROLLBACK').catch(() => undefined);
    throw error;
  }
}

async function refuseIntruders(client: pg.Client, owners: readonly number[]): Promise<void> {
  const { rows } = await client.query<{ owner: string; as: string }>(INTRUDERS_SQL, [owners, WRITERS_SCHEMA]);
  const [row] = rows;
  if (row === undefined) return;
  const as = row.as === row.owner ? '' : ` as a member of "${row.as}"`;
  throw new LockstepError(
    'CONFIG_INVALID',
    `Run REVOKE ALL ON SCHEMA ${WRITERS_SCHEMA} FROM PUBLIC, and from every role but the regions' own: "${row.owner}", who owns a shared table, may use it${as}, and could have what arrives written with more than the owner's rights. Nothing was started.`,
  );
}

/** `readsTables`: sessions of ours read no views, and the owner's code may. */
function writerSql(owner: TableOwner, readsTables: boolean): string {
  const { outer, inner } = writerOf(owner);
  const role = quoteIdentifier(owner.name);
  const parameters = '(statement text, changes anyarray, written timestamptz[])';
  // What the owner's code sets for the session must not change what the link's own statements mean.
  const settings = Object.entries(SESSION_SETTINGS).map(
    ([name, value]) => `PERFORM pg_catalog.set_config('${name}', '${value}', false);`,
  );
  if (readsTables) settings.push(`PERFORM ${ONLY_TABLES};`);
  return `
    CREATE OR REPLACE FUNCTION ${inner}${parameters} RETURNS SETOF int LANGUAGE plpgsql SECURITY DEFINER
      SET search_path = pg_catalog, pg_temp ${readsTables ? MAY_READ_VIEWS : ''}
      AS $$ BEGIN RETURN QUERY EXECUTE statement USING changes, written; END $$;
    REVOKE ALL ON FUNCTION ${inner}(text, anyarray, timestamptz[]) FROM PUBLIC;
    GRANT EXECUTE ON FUNCTION ${inner}(text, anyarray, timestamptz[]) TO CURRENT_USER;
    GRANT CREATE, USAGE ON SCHEMA ${WRITERS_SCHEMA} TO ${role};
    ALTER FUNCTION ${inner}(text, anyarray, timestamptz[]) OWNER TO ${role};
    REVOKE CREATE, USAGE ON SCHEMA ${WRITERS_SCHEMA} FROM ${role};
    CREATE OR REPLACE FUNCTION ${outer}${parameters} RETURNS SETOF int LANGUAGE plpgsql
      AS $$ BEGIN
        RETURN QUERY SELECT * FROM ${inner}(statement, changes, written);
        ${settings.join('\n        ')}
      END $$;`;
}
