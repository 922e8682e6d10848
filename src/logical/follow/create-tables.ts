import type pg from 'pg';
import { LockstepError } from '../../model/errors.ts';
import { quoteIdentifier, quoteTable } from '../core/quote.ts';
import { isOneExpression } from './core/one-expression.ts';
import type { TableName } from '../tables.ts';

/** As the source has it; whatever a source says, it is not to become the target's SQL. */
interface ColumnRow {
  readonly name: string;
  /** Of an array, its elements'. */
  readonly type_schema: string;
  readonly type_name: string;
  readonly is_array: boolean;
  readonly type_modifier: number;
  readonly collation_schema: string | null;
  readonly collation: string | null;
  readonly is_required: boolean;
  readonly generated: string | null;
}

const COLUMNS_SQL = `
SELECT a.attname AS name, a.attnotnull AS is_required, a.atttypmod AS type_modifier,
       e.oid IS NOT NULL AS is_array, n.nspname AS type_schema, coalesce(e.typname, t.typname) AS type_name,
       CASE WHEN a.attcollation <> t.typcollation THEN m.nspname END AS collation_schema,
       CASE WHEN a.attcollation <> t.typcollation THEN l.collname END AS collation,
       CASE WHEN a.attgenerated <> '' THEN pg_get_expr(d.adbin, d.adrelid) END AS generated
  FROM pg_attribute a
  JOIN pg_type t ON t.oid = a.atttypid
  LEFT JOIN pg_type e ON e.oid = t.typelem AND e.typarray = t.oid
  JOIN pg_namespace n ON n.oid = coalesce(e.typnamespace, t.typnamespace)
  LEFT JOIN pg_collation l ON l.oid = a.attcollation LEFT JOIN pg_namespace m ON m.oid = l.collnamespace
  LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
 WHERE a.attrelid = $1::regclass AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum`;

const KEY_SQL = `
SELECT array_agg(a.attname ORDER BY k.position)::text[] AS names
  FROM pg_index i
  CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS k (attnum, position)
  JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
 WHERE i.indrelid = $1::regclass AND k.position <= i.indnkeyatts AND (i.indisreplident OR i.indisprimary)
 GROUP BY i.indexrelid, i.indisreplident ORDER BY i.indisreplident DESC LIMIT 1`;

/** A type of the target's, as the target writes it. */
const TYPE_SQL = `
SELECT format_type(CASE WHEN $3::boolean THEN t.typarray ELSE t.oid END, $4::int) AS type
  FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
 WHERE n.nspname = $1 AND t.typname = $2 AND t.typtype <> 'p' AND NOT ($3::boolean AND t.typarray = 0)`;

/** What a new table must not have: it would run with our rights, whenever a row comes. */
const UNWANTED_SQL = `
SELECT 'the default of ' || a.attname AS what FROM pg_attribute a
 WHERE a.attrelid = $1::regclass AND a.atthasdef AND a.attgenerated = ''
UNION ALL SELECT 'constraint ' || conname FROM pg_constraint WHERE conrelid = $1::regclass AND contype NOT IN ('p', 'n')
UNION ALL SELECT 'another table' FROM pg_inherits WHERE inhrelid = $1::regclass
UNION ALL
SELECT 'function ' || p.oid::regprocedure
  FROM pg_attrdef f
  JOIN pg_depend d ON d.classid = 'pg_attrdef'::regclass AND d.objid = f.oid
  LEFT JOIN pg_operator o ON d.refclassid = 'pg_operator'::regclass AND o.oid = d.refobjid
  JOIN pg_proc p ON d.refclassid = 'pg_proc'::regclass AND p.oid = d.refobjid OR p.oid = o.oprcode
  JOIN pg_roles r ON r.oid = p.proowner
 WHERE f.adrelid = $1::regclass AND NOT r.rolsuper AND r.rolname <> current_user`;

/**
 * Creates the tables that the target lacks, with columns, NOT NULL, generated columns and key as at the source, and
 * nothing else: indexes, checks and references are the target's own affair. Gives those it has created. Types and
 * collations of the source's own must be there. Throws SCHEMA_MISFIT for a table that is to be created by hand.
 */
export async function createMissingTables(
  source: pg.Client,
  target: pg.Client,
  tables: readonly TableName[],
): Promise<readonly TableName[]> {
  const created: TableName[] = [];
  for (const table of tables) {
    const name = quoteTable(table);
    const { rows } = await target.query<{ there: boolean }>('SELECT to_regclass($1) IS NOT NULL AS there', [
      name,
    ]);
    if (rows[0]?.there === true) continue;
    const columns = await source.query<ColumnRow>(COLUMNS_SQL, [name]);
    const key = await source.query<{ names: string[] }>(KEY_SQL, [name]);
    const [names] = key.rows.map((row) => row.names);
    const lines: string[] = [];
    for (const column of columns.rows) lines.push(await renderColumn(target, table, column));
    if (names !== undefined) lines.push(`PRIMARY KEY (${names.map(quoteIdentifier).join(', ')})`);
    await createTable(target, table, lines);
    created.push(table);
  }
  return created;
}

async function createTable(target: pg.Client, table: TableName, lines: readonly string[]): Promise<void> {
  const name = quoteTable(table);
  await target.query('BEGIN; SET LOCAL standard_conforming_strings = on');
  try {
    await target.query(`CREATE SCHEMA IF NOT EXISTS ${quoteIdentifier(table.schema)}`);
    await target.query(`CREATE TABLE ${name} (${lines.join(', ')})`);
    const { rows } = await target.query<{ what: string }>(UNWANTED_SQL, [name]);
    const [unwanted] = rows;
    if (unwanted !== undefined)
      throw refusal(table, `it would have ${unwanted.what}, which would run with this role's rights`);
    await target.query('COMMIT');
  } catch (error) {
    await target.query('ROLLBACK').catch(() => undefined);
    throw error;
  }
}

function refusal({ schema, name }: TableName, why: string): LockstepError {
  return new LockstepError(
    'SCHEMA_MISFIT',
    `Create table ${schema}.${name} at the target yourself: ${why}. Nothing was created.`,
  );
}

async function renderColumn(target: pg.Client, table: TableName, column: ColumnRow): Promise<string> {
  const { name, type_schema, type_name, is_array, type_modifier, is_required, generated } = column;
  const { rows } = await target.query<{ type: string }>(TYPE_SQL, [
    type_schema,
    type_name,
    is_array,
    type_modifier,
  ]);
  const [found] = rows;
  if (found === undefined)
    throw refusal(table, `its column ${name} is of type ${type_schema}.${type_name}, which is not there`);
  if (generated !== null && !isOneExpression(generated))
    throw refusal(table, `the source computes ${name} by what is no expression`);
  const collation = [column.collation_schema, column.collation].filter((part) => part !== null);
  return [
    quoteIdentifier(name),
    found.type,
    ...(collation.length === 0 ? [] : [`COLLATE ${collation.map(quoteIdentifier).join('.')}`]),
    ...(generated === null ? [] : [`GENERATED ALWAYS AS (${generated}) STORED`]),
    ...(is_required ? ['NOT NULL'] : []),
  ].join(' ');
}
