import type pg from 'pg';
import { quoteIdentifier } from '../../logical/core/quote.ts';
import { SESSION_SETTINGS } from '../merge/journal-store.ts';
import type { TableOwner, TableShape } from '../tables/shape.ts';
import { canReadOnlyTables, MAY_READ_VIEWS, ONLY_TABLES } from '../../wire/only-tables.ts';
import { SCHEMA, writerOf } from '../tables/statements.ts';

/**
 * Changes are written with the rights of each table's owner, and not with those of the link: triggers, CHECK constraints
 * and indexes run code that the owner wrote. `SET ROLE` would not do, since such code could set it back; in a function
 * with the owner's rights it cannot. One function an owner, for all the tables of that owner.
 */
export async function prepareWriters(client: pg.Client, shapes: readonly TableShape[]): Promise<void> {
  const owners = new Map(shapes.flatMap(({ writeAs }) => (writeAs === null ? [] : [[writeAs.oid, writeAs]])));
  const readsTables = await canReadOnlyTables(client);
  await client.query('BEGIN');
  try {
    for (const owner of owners.values()) await client.query(writerSql(owner, readsTables));
    await client.query('COMMIT');
  } catch (error) {
    await client.query('ROLLBACK').catch(() => undefined);
    throw error;
  }
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
    GRANT CREATE, USAGE ON SCHEMA ${SCHEMA} TO ${role};
    ALTER FUNCTION ${inner}(text, anyarray, timestamptz[]) OWNER TO ${role};
    REVOKE CREATE, USAGE ON SCHEMA ${SCHEMA} FROM ${role};
    CREATE OR REPLACE FUNCTION ${outer}${parameters} RETURNS SETOF int LANGUAGE plpgsql
      AS $$ BEGIN
        RETURN QUERY SELECT * FROM ${inner}(statement, changes, written);
        ${settings.join('\n        ')}
      END $$;`;
}
