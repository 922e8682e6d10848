import type pg from 'pg';
import { roleStatement } from '../apply/core/owners.ts';
import { LET_READ_VIEWS } from '../../wire/only-tables.ts';
import { quoteTable } from '../core/quote.ts';
import type { TableName } from '../tables.ts';

/** As the catalog reads it for writing: the owner, where the session's role is a superuser and another. */
const OWNER_SQL = `
SELECT pg_catalog.pg_get_userbyid(c.relowner) AS owner
  FROM pg_catalog.pg_class c
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_catalog.pg_roles r ON r.rolname = current_user
 WHERE n.nspname = $1 AND c.relname = $2 AND r.rolsuper AND r.oid <> c.relowner`;

/**
 * Empties tables of the target, those of one owner together, with that owner's rights: triggers that fire for TRUNCATE
 * are the owner's code. Without CASCADE: PostgreSQL refuses where a table that nobody named refers to one of them.
 */
export async function emptyTables(target: pg.Client, tables: readonly TableName[]): Promise<void> {
  const byOwner = new Map<string | null, string[]>();
  for (const table of tables) {
    const { rows } = await target.query<{ owner: string }>(OWNER_SQL, [table.schema, table.name]);
    const owner = rows[0]?.owner ?? null;
    byOwner.set(owner, [...(byOwner.get(owner) ?? []), quoteTable(table)]);
  }
  // A transaction for each, so that what one owner's code defers does not run with the next one's rights.
  for (const [owner, names] of byOwner) await runAsOwner(target, owner, `TRUNCATE ${names.join(', ')}`);
}

/** Runs one statement in a transaction of its own, to its end with the rights of the table's owner; null for one's own. */
export async function runAsOwner(
  target: pg.Client,
  owner: string | null,
  text: string,
  values: readonly unknown[] = [],
): Promise<void> {
  await target.query('BEGIN');
  try {
    if (owner !== null) await target.query(`${roleStatement(owner).text}; ${LET_READ_VIEWS}`);
    await target.query(text, [...values]);
    await target.query('COMMIT');
  } catch (error) {
    await target.query('ROLLBACK').catch(() => undefined);
    throw error;
  }
}
