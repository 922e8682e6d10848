import type pg from 'pg';
import { LockstepError } from '../model/errors.ts';

/** Since PostgreSQL 15.8, 16.4 and 17. Source: PostgreSQL documentation, "Client Connection Defaults"; CVE-2024-7348. */
const SETTING = 'restrict_nonsystem_relation_kind';

/** Of a function: what a table's owner has made to run there may read views, with the owner's rights. */
export const MAY_READ_VIEWS: string = `SET ${SETTING} = ''`;

/** For the rest of the transaction, as {@link MAY_READ_VIEWS}. */
export const LET_READ_VIEWS: string = `SELECT pg_catalog.set_config('${SETTING}', '', true)
  WHERE pg_catalog.current_setting('${SETTING}', true) IS NOT NULL`;

/** As {@link readOnlyTables}, where the server is known to be able to. */
export const ONLY_TABLES: string = `pg_catalog.set_config('${SETTING}', 'view, foreign-table', false)`;

/** The same as a statement, for any server. */
export const WHERE_KNOWN_ONLY_TABLES: string = `SELECT ${ONLY_TABLES} WHERE pg_catalog.current_setting('${SETTING}', true) IS NOT NULL`;

/** Whether the server can be told to read nothing but tables. */
export async function canReadOnlyTables(client: pg.Client): Promise<boolean> {
  const { rows } = await client.query<{ can: boolean }>(
    `SELECT pg_catalog.current_setting('${SETTING}', true) IS NOT NULL AS can`,
  );
  return rows[0]?.can === true;
}

/**
 * For a session that finds tables in the catalog and reads them by name afterwards: meanwhile their owner may have put a
 * view in a table's place, and its functions would run with the session's rights. From here on the server refuses to
 * read one. Throws CONFIG_INVALID in a superuser's session where it cannot.
 */
export async function readOnlyTables(client: pg.Client): Promise<void> {
  const { rows } = await client.query<{ is_superuser: string; set: string | null }>(
    `SELECT pg_catalog.current_setting('is_superuser') AS is_superuser,
       CASE WHEN pg_catalog.current_setting('${SETTING}', true) IS NOT NULL THEN ${ONLY_TABLES} END AS set`,
  );
  if (rows[0]?.set != null || rows[0]?.is_superuser === 'off') return;
  throw new LockstepError(
    'CONFIG_INVALID',
    'Update PostgreSQL to 15.8, 16.4, 17 or later: before, whoever owns a table can have a superuser who reads it run code. Nothing was read.',
  );
}
