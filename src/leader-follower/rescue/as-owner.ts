import { randomBytes } from 'node:crypto';
import { escapeIdentifier } from 'pg';
import type pg from 'pg';
import { MAY_READ_VIEWS } from '../../wire/only-tables.ts';
import type { TableShape } from './tables.ts';

/** A query that gives texts, or a statement of which the number of rows is the one text that it gives. */
export interface OwnersTask {
  readonly kind: 'query' | 'write';
  readonly sql: string;
}

/**
 * Runs one statement with the rights of a table's owner, in PostgreSQL's security-restricted mode: what the app has made
 * to run there (triggers, checks, domains, casts, rules, functions in `--where`) cannot become superuser. SET ROLE would
 * not do, for that code could reset it, or leave a cursor or a deferred trigger behind for the superuser's commit. SQL
 * can enter that mode in one way only: by refreshing a materialized view of the owner, which calls a function with the statement.
 * Source: PostgreSQL documentation, "REFRESH MATERIALIZED VIEW"; CVE-2020-25695.
 *
 * `client` is a superuser's, in a transaction, with constraints immediate. `take` finds the texts as `value` in the view
 * that it is told. Temporary tables that it reads are to be granted first ({@link letOwnerRead}).
 * Rejects as PostgreSQL does.
 */
export async function asOwner<T>(
  client: pg.Client,
  table: Pick<TableShape, 'sql' | 'owner' | 'limitsOwner'>,
  task: OwnersTask,
  take: (view: string) => Promise<T>,
): Promise<T> {
  const id = randomBytes(8).toString('hex');
  const schema = escapeIdentifier(`lockstep_rescue_${id}`);
  const name = `pg_temp.${escapeIdentifier(`rescue_task_${id}`)}`;
  const view = `${schema}.result`;
  // Policies that bind the owner too would hide rows from it.
  if (table.limitsOwner) await client.query(`ALTER TABLE ${table.sql} NO FORCE ROW LEVEL SECURITY`);
  await client.query(`CREATE SCHEMA ${schema}`);
  await client.query(
    `CREATE FUNCTION ${name}() RETURNS SETOF text LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp ${MAY_READ_VIEWS}
       AS $rescue_${id}$ ${bodyOf(task)} $rescue_${id}$`,
  );
  await client.query(
    `CREATE MATERIALIZED VIEW ${view} AS SELECT value FROM ${name}() AS value WITH NO DATA;
     ALTER MATERIALIZED VIEW ${view} OWNER TO ${escapeIdentifier(table.owner)}`,
  );
  await client.query(`REFRESH MATERIALIZED VIEW ${view}`);
  const taken = await take(view);
  await client.query(`DROP MATERIALIZED VIEW ${view}; DROP SCHEMA ${schema}; DROP FUNCTION ${name}()`);
  if (table.limitsOwner) await client.query(`ALTER TABLE ${table.sql} FORCE ROW LEVEL SECURITY`);
  return taken;
}

/** Rows may bring along what rules of the table do besides, so that they cannot be counted by a query around the statement. */
function bodyOf(task: OwnersTask): string {
  return task.kind === 'query'
    ? `#variable_conflict use_column\nBEGIN RETURN QUERY ${task.sql}\n; END`
    : `#variable_conflict use_column\nDECLARE rescue_rows bigint;
       BEGIN ${task.sql}\n; GET DIAGNOSTICS rescue_rows = ROW_COUNT; RETURN NEXT rescue_rows::text; END`;
}

/** The one text that a statement gives, run as {@link asOwner} does. */
export async function valueAsOwner(
  client: pg.Client,
  table: Pick<TableShape, 'sql' | 'owner' | 'limitsOwner'>,
  task: OwnersTask,
): Promise<string> {
  return asOwner(client, table, task, async (view) => {
    const { rows } = await client.query<{ value: string }>(`SELECT value FROM ${view}`);
    return rows[0]?.value ?? '';
  });
}

export async function letOwnerRead(
  client: pg.Client,
  { owner }: Pick<TableShape, 'owner'>,
  temporary: string,
): Promise<void> {
  await client.query(`GRANT SELECT ON pg_temp.${temporary} TO ${escapeIdentifier(owner)}`);
}
