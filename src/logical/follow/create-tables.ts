import type pg from 'pg';
import { quoteIdentifier, quoteTable } from '../core/quote.ts';
import type { TableName } from './source.ts';

interface ColumnRow {
  readonly name: string;
  readonly type: string;
  readonly collation: string | null;
  readonly is_required: boolean;
  readonly generated: string | null;
}

const COLUMNS_SQL = `
SELECT a.attname AS name, format_type(a.atttypid, a.atttypmod) AS type, a.attnotnull AS is_required,
       CASE WHEN a.attcollation <> t.typcollation THEN quote_ident(n.nspname) || '.' || quote_ident(l.collname) END AS collation,
       CASE WHEN a.attgenerated <> '' THEN pg_get_expr(d.adbin, d.adrelid) END AS generated
  FROM pg_attribute a
  JOIN pg_type t ON t.oid = a.atttypid
  LEFT JOIN pg_collation l ON l.oid = a.attcollation LEFT JOIN pg_namespace n ON n.oid = l.collnamespace
  LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
 WHERE a.attrelid = $1::regclass AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum`;

const KEY_SQL = `
SELECT array_agg(a.attname ORDER BY k.position)::text[] AS names
  FROM pg_index i
  CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS k (attnum, position)
  JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
 WHERE i.indrelid = $1::regclass AND k.position <= i.indnkeyatts AND (i.indisreplident OR i.indisprimary)
 GROUP BY i.indexrelid, i.indisreplident ORDER BY i.indisreplident DESC LIMIT 1`;

/**
 * Creates the tables that the target lacks, with columns, NOT NULL, generated columns and key as at the source, and
 * nothing else: indexes, checks and references are the target's own affair. Gives those it has created. Types and
 * collations of the source's own must be there.
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
    const lines = [
      ...columns.rows.map(renderColumn),
      ...(names === undefined ? [] : [`PRIMARY KEY (${names.map(quoteIdentifier).join(', ')})`]),
    ];
    await target.query(`CREATE SCHEMA IF NOT EXISTS ${quoteIdentifier(table.schema)}`);
    // Types and expressions are the source's words: with the extended protocol they are part of one statement, or none.
    const statement: pg.QueryConfig & { readonly queryMode: 'extended' } = {
      text: `CREATE TABLE ${name} (${lines.join(', ')})`,
      queryMode: 'extended',
    };
    await target.query(statement);
    created.push(table);
  }
  return created;
}

function renderColumn({ name, type, collation, is_required, generated }: ColumnRow): string {
  return [
    quoteIdentifier(name),
    type,
    ...(collation === null ? [] : [`COLLATE ${collation}`]),
    ...(generated === null ? [] : [`GENERATED ALWAYS AS (${generated}) STORED`]),
    ...(is_required ? ['NOT NULL'] : []),
  ].join(' ');
}
