import { DatabaseError, escapeIdentifier, escapeLiteral } from 'pg';
import type pg from 'pg';
import { LockstepError } from '../../model/errors.ts';
import { pipeCopy } from '../../postgres/copy/copy-pipe.ts';
import { letOwnerRead, valueAsOwner } from './as-owner.ts';
import type { OwnersTask } from './as-owner.ts';
import { keyText } from './compare.ts';
import type { RescueSides, TableComparison } from './compare.ts';
import type { DroppedSchema } from './schema-dump.ts';
import type { TableColumn, TableShape } from './tables.ts';

/** What is to be brought back. */
export interface RestorePlan {
  /** Null when no object is missing. */
  readonly dropped: DroppedSchema | null;
  readonly tables: readonly TableComparison[];
  /** SQL that says of which rows of the past, by their columns; null for all. */
  readonly where: string | null;
  /** What was written after the mistake stays; else it is overwritten too. */
  readonly keepsNewer: boolean;
}

/** What has been done to one table. */
export interface RestoredTable {
  readonly table: string;
  readonly inserted: number;
  readonly updated: number;
  /** Keys of rows that stay as they were written after the mistake; at most as many as {@link MAX_LISTED}. */
  readonly kept: readonly string[];
  readonly keptCount: number;
}

/** How many keys are listed. */
export const MAX_LISTED = 1_000;
const LOCK_TIMEOUT_MS = 10_000;

/**
 * Brings rows, and before them dropped objects, back to the leader in one transaction of it. Rows that others write
 * meanwhile are never overwritten, unless that was asked for. Rejects with the leader as it was: CONFIG_INVALID when rows would
 * point at others that are not there, POSTGRES_FAILED when PostgreSQL refuses them. Only when the connection is lost at the commit
 * is the outcome `unknown`.
 */
export async function restoreTables(
  sides: RescueSides,
  plan: RestorePlan,
): Promise<readonly RestoredTable[]> {
  const { present } = sides;
  let isCommitting = false;
  await present.query('BEGIN');
  try {
    await present.query(`SET LOCAL lock_timeout = ${LOCK_TIMEOUT_MS}`);
    if (plan.dropped !== null) await runScript(present, plan.dropped.before);
    // Neither the app's triggers nor the checks of foreign keys: those are looked at below, all together.
    await present.query('SET LOCAL session_replication_role = replica');
    // What the app has deferred to the commit would run as superuser then.
    await present.query('SET CONSTRAINTS ALL IMMEDIATE');
    const restored: RestoredTable[] = [];
    for (const comparison of plan.tables) {
      restored.push(
        isDropped(plan, comparison.table)
          ? await copyWhole(sides, comparison)
          : await mergeRows(sides, comparison, plan),
      );
    }
    await present.query('SET LOCAL session_replication_role = origin');
    if (plan.dropped !== null) await runScript(present, plan.dropped.after);
    for (const { table } of plan.tables) {
      await restoreSequences(sides, table);
      await checkReferences(present, table);
    }
    isCommitting = true;
    await present.query('COMMIT');
    return restored;
  } catch (error) {
    await present.query('ROLLBACK').catch(() => undefined);
    throw failureOf(error, isCommitting);
  }
}

function failureOf(error: unknown, isCommitting: boolean): unknown {
  if (error instanceof LockstepError) return error;
  const { message, table } = error as pg.DatabaseError;
  if (isCommitting && !(error instanceof DatabaseError)) {
    return new LockstepError(
      'POSTGRES_FAILED',
      `Look with "lockstep rescue diff" whether the rows are back: the leader was lost while it committed them (${message}).`,
      { outcome: 'unknown', cause: error },
    );
  }
  const where = table === undefined ? '' : ` (table ${table})`;
  return new LockstepError(
    'POSTGRES_FAILED',
    `The leader is as it was: it did not take the rows back${where}: ${message}. Mend what it says, as a trigger or a constraint of the app's, or choose other rows with --where.`,
    { cause: error },
  );
}

function isDropped({ dropped }: RestorePlan, { schema, name }: TableShape): boolean {
  return dropped?.tables.some((table) => table.schema === schema && table.name === name) === true;
}

/** pg_dump empties the search path, which is not to last. */
async function runScript(client: pg.Client, sql: string): Promise<void> {
  if (sql.trim() !== '') await client.query(sql);
  await client.query(`SET search_path = pg_catalog; SET row_security = on; SET check_function_bodies = on`);
}

function columnList(columns: readonly string[], alias = ''): string {
  return columns.map((name) => `${alias}${escapeIdentifier(name)}`).join(', ');
}

async function copyWhole(sides: RescueSides, { table, chosen }: TableComparison): Promise<RestoredTable> {
  const { past, present } = sides;
  const filter =
    chosen === null
      ? ''
      : ` WHERE ${keyText(
          table.key,
          table.columns.map(({ name }) => name),
        )} IN (SELECT key FROM ${chosen})`;
  const stage = await createStage(present, table, table.columns);
  const columns = columnList(table.columns.map(({ name }) => name));
  await pipeCopy(
    past,
    `COPY (SELECT ${columns} FROM ${table.sql} AS t${filter}) TO STDOUT`,
    present,
    `COPY ${stage} (${columns}) FROM STDIN`,
  );
  const inserted = await valueAsOwner(
    present,
    table,
    writing(
      `INSERT INTO ${table.sql} (${columns}) OVERRIDING SYSTEM VALUE SELECT ${valueList(table.columns)} FROM pg_temp.${stage} AS s`,
    ),
  );
  return { table: labelOf(table), inserted: Number(inserted), updated: 0, kept: [], keptCount: 0 };
}

/** A temporary table on the leader, which holds values of the app's own types as text: those are made by the table's owner. */
async function createStage(
  present: pg.Client,
  table: TableShape,
  columns: readonly TableColumn[],
): Promise<string> {
  const stage = escapeIdentifier(`rescue_stage_${table.oid}`);
  const definitions = columns.map(
    ({ name, type, isAppType }) => `${escapeIdentifier(name)} ${isAppType ? 'text' : type}`,
  );
  await present.query(
    `CREATE TEMP TABLE ${stage} (${['rescue_key text', 'rescue_verdict text', 'rescue_writer bigint', ...definitions].join(', ')}) ON COMMIT DROP`,
  );
  await letOwnerRead(present, table, stage);
  return stage;
}

/** The stage's values as the table's. */
function valueList(columns: readonly TableColumn[]): string {
  return columns.map(valueOf).join(', ');
}

function valueOf({ name, type, isAppType }: TableColumn): string {
  return `s.${escapeIdentifier(name)}${isAppType ? `::${type}` : ''}`;
}

function writing(sql: string): OwnersTask {
  return { kind: 'write', sql };
}

/** Rows of a table that is there: those that are missing are added, those that the mistake wrote are set back. */
async function mergeRows(
  { past, present }: RescueSides,
  comparison: TableComparison,
  { keepsNewer }: RestorePlan,
): Promise<RestoredTable> {
  const { table: was, presentTable, verdicts } = comparison;
  const table = { ...was, ...(presentTable ?? was), key: was.key };
  const shared = table.columns.filter(({ name }) => was.columns.some((column) => column.name === name));
  const names = was.columns
    .map(({ name }) => name)
    .filter((name) => shared.some((column) => column.name === name));
  const stage = await createStage(present, table, shared);
  const columns = columnList(shared.map(({ name }) => name));
  await pipeCopy(
    past,
    `COPY (SELECT v.key, v.verdict, v.seen_writer, ${columnList(
      shared.map(({ name }) => name),
      't.',
    )}
             FROM (SELECT t.*, ${keyText(was.key, names)} AS rescue_key FROM ${was.sql} AS t) AS t
             JOIN ${verdicts} AS v ON v.key = t.rescue_key WHERE v.verdict <> 'others') TO STDOUT`,
    present,
    `COPY ${stage} FROM STDIN`,
  );
  const inserted = await valueAsOwner(
    present,
    table,
    writing(
      `INSERT INTO ${table.sql} (${columns}) OVERRIDING SYSTEM VALUE
       SELECT ${valueList(shared)} FROM pg_temp.${stage} AS s
        WHERE rescue_verdict = 'missing'${keepsNewer ? '' : ` OR rescue_verdict = 'newer' AND rescue_writer IS NULL`}
       ON CONFLICT DO NOTHING`,
    ),
  );
  const updated = await updateRows(present, table, shared, stage, keepsNewer);
  const kept = await valueAsOwner(present, table, {
    kind: 'query',
    sql: `SELECT json_build_object('count', count(*), 'keys', coalesce((array_agg(s.rescue_key))[1:${MAX_LISTED}], '{}'))::text
       FROM pg_temp.${stage} AS s
      WHERE NOT EXISTS (SELECT FROM ${table.sql} AS t WHERE ROW(${columnList(names, 't.')})::text = ROW(${columnList(names, 's.')})::text
                           AND ${matchKey(table, shared)})`,
  });
  const { count, keys } = JSON.parse(kept) as { readonly count: number; readonly keys: readonly string[] };
  return { table: labelOf(table), inserted: Number(inserted), updated, kept: keys, keptCount: count };
}

/** Only while nobody has written the row since it was looked at. */
async function updateRows(
  present: pg.Client,
  table: TableShape,
  shared: readonly TableColumn[],
  stage: string,
  keepsNewer: boolean,
): Promise<number> {
  const values = shared.filter(({ name }) => !table.key.includes(name));
  if (table.key.length === 0 || values.length === 0) return 0;
  const updated = await valueAsOwner(
    present,
    table,
    writing(
      `UPDATE ${table.sql} AS t SET ${values.map((column) => `${escapeIdentifier(column.name)} = ${valueOf(column)}`).join(', ')}
         FROM pg_temp.${stage} AS s
        WHERE ${matchKey(table, shared)} AND s.rescue_writer IS NOT NULL
          AND (s.rescue_verdict = 'changed' AND t.xmin::text::bigint = s.rescue_writer${keepsNewer ? '' : ` OR s.rescue_verdict IN ('changed', 'newer')`})`,
    ),
  );
  return Number(updated);
}

/** The same row in the table (`t`) and in the stage (`s`). */
function matchKey({ key }: TableShape, shared: readonly TableColumn[]): string {
  const parts = shared
    .filter(({ name }) => key.includes(name))
    .map((column) => `t.${escapeIdentifier(column.name)} = ${valueOf(column)}`);
  return parts.length === 0 ? 'true' : parts.join(' AND ');
}

/** A sequence is never set back: numbers that were given since stay given. */
async function restoreSequences({ past, present }: RescueSides, table: TableShape): Promise<void> {
  const { rows } = await past.query<{ sql: string }>(
    `SELECT format('%I.%I', space.nspname, seq.relname) AS sql
       FROM pg_depend JOIN pg_class AS seq ON seq.oid = objid AND seq.relkind = 'S'
       JOIN pg_namespace AS space ON space.oid = seq.relnamespace
      WHERE classid = 'pg_class'::regclass AND refclassid = 'pg_class'::regclass AND refobjid = $1 AND deptype IN ('a', 'i')`,
    [table.oid],
  );
  for (const { sql } of rows) {
    const was = await past.query<{ last: string; called: boolean }>(
      `SELECT last_value::text AS last, is_called AS called FROM ${sql}`,
    );
    const { last = '1', called = false } = was.rows[0] ?? {};
    await advanceSequence(present, { sql, last, called });
  }
}

/** The name is the past's: where the leader has something else of that name by now, as a view, that is left alone. */
async function advanceSequence(
  present: pg.Client,
  { sql, last, called }: { readonly sql: string; readonly last: string; readonly called: boolean },
): Promise<void> {
  const { rows } = await present.query<{ oid: string; owner: string }>(
    `SELECT oid::int8::text AS oid, pg_get_userbyid(relowner) AS owner FROM pg_class
      WHERE oid = to_regclass($1) AND relkind = 'S'`,
    [sql],
  );
  const [sequence] = rows;
  if (sequence === undefined) return;
  // By its name once more, which somebody may have given to a view meanwhile: nothing but its owner's rights then.
  const isBehind = await valueAsOwner(
    present,
    { sql, owner: sequence.owner, limitsOwner: false },
    {
      kind: 'query',
      sql: `SELECT (last_value < was OR NOT is_called AND last_value = was)::text
              FROM ${sql}, CAST(${escapeLiteral(last)} AS bigint) AS was`,
    },
  );
  if (isBehind !== 'true') return;
  await present.query('SELECT setval($1::bigint::oid::regclass, $2::bigint, $3)', [
    sequence.oid,
    last,
    called,
  ]);
}

/** The foreign keys from and to a table hold: their own checks were off while its rows came. */
async function checkReferences(present: pg.Client, table: TableShape): Promise<void> {
  const { rows } = await present.query<{
    name: string;
    child: string;
    parent: string;
    child_columns: string[];
    parent_columns: string[];
  }>(
    `SELECT conname AS name, conrelid::regclass::text AS child, confrelid::regclass::text AS parent,
            (SELECT json_agg(attname ORDER BY position) FROM unnest(conkey) WITH ORDINALITY AS part(number, position)
               JOIN pg_attribute ON attrelid = conrelid AND attnum = part.number) AS child_columns,
            (SELECT json_agg(attname ORDER BY position) FROM unnest(confkey) WITH ORDINALITY AS part(number, position)
               JOIN pg_attribute ON attrelid = confrelid AND attnum = part.number) AS parent_columns
       FROM pg_constraint WHERE contype = 'f' AND convalidated AND conparentid = 0 AND conrelid = to_regclass($1)`,
    [table.sql],
  );
  for (const { name, child, parent, child_columns: own, parent_columns: others } of rows) {
    const isSet = own.map((column) => `c.${escapeIdentifier(column)} IS NOT NULL`).join(' AND ');
    const pairs = own
      .map((column, index) => `p.${escapeIdentifier(others[index] ?? '')} = c.${escapeIdentifier(column)}`)
      .join(' AND ');
    const { rows: found } = await present.query<{ count: string }>(
      `SELECT count(*) AS count FROM ${child} AS c WHERE ${isSet} AND NOT EXISTS (SELECT FROM ${parent} AS p WHERE ${pairs})`,
    );
    const count = Number(found[0]?.count ?? 0);
    if (count === 0) continue;
    throw new LockstepError(
      'CONFIG_INVALID',
      `${count} rows of ${shown(child)} would point at rows of ${shown(parent)} that are not there (${name}); restore ${shown(parent)} with it, or fewer rows with --where. The leader is as it was.`,
    );
  }
}

/** A quoted table with its schema, as people write it. */
function shown(table: string): string {
  return table.replace(/^public\./, '');
}

/** As people write it. */
export function labelOf({ schema, name, sql }: TableShape): string {
  return schema === 'public' ? name : sql;
}
