import type pg from 'pg';
import { quoteIdentifier } from '../../logical/core/quote.ts';
import { LockstepError } from '../../model/errors.ts';

export interface TableColumn {
  readonly name: string;
  /** On this server; those of types that people made differ from server to server. */
  readonly typeOid: number;
  readonly typeName: string;
  /** Its value is computed here, and comes with no change. */
  readonly isGenerated: boolean;
}

/** A table as this region's catalog has it. */
export interface TableShape {
  readonly schema: string;
  readonly table: string;
  /** `schema.table`: what changes, records and tombstones name it by, in every region alike. */
  readonly name: string;
  readonly rowTypeOid: number;
  /** In the table's order, without dropped ones. */
  readonly columns: readonly TableColumn[];
  /** Positions in `columns`, in the order of the primary key. */
  readonly key: readonly number[];
}

/**
 * Types of which two values are equal exactly when their bytes are: a key is looked up by its bytes. Source: pg_type.
 */
const KEY_TYPES: ReadonlySet<string> = new Set([
  'bool',
  'int2',
  'int4',
  'int8',
  'oid',
  'text',
  'varchar',
  'uuid',
  'bytea',
  'date',
  'time',
  'timestamp',
  'timestamptz',
  'inet',
  'macaddr',
]);

const TABLES_SQL = `
SELECT n.nspname AS schema, c.relname AS table, c.reltype AS "rowType", c.relpersistence AS persistence,
       c.relkind AS kind, i.indkey::text AS key,
       json_agg(json_build_object('number', a.attnum, 'name', a.attname, 'type', a.atttypid::bigint,
                'typeName', t.typname, 'isEnum', t.typtype = 'e', 'isGenerated', a.attgenerated <> '',
                'isDeterministic', coalesce(o.collisdeterministic, true)) ORDER BY a.attnum) AS columns
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
JOIN pg_type t ON t.oid = a.atttypid
LEFT JOIN pg_collation o ON o.oid = a.attcollation
LEFT JOIN pg_index i ON i.indrelid = c.oid AND i.indisprimary
WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition
  AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname NOT LIKE 'lockstep%'
GROUP BY 1, 2, 3, 4, 5, 6 ORDER BY 1, 2`;

interface CatalogColumn extends Omit<TableColumn, 'typeOid'> {
  readonly number: number;
  readonly type: number;
  readonly isEnum: boolean;
  readonly isDeterministic: boolean;
}

interface CatalogTable {
  readonly schema: string;
  readonly table: string;
  readonly rowType: number;
  readonly persistence: string;
  readonly kind: string;
  readonly key: string | null;
  readonly columns: readonly CatalogColumn[];
}

/**
 * All tables of a database that regions share, by name, without those of `except`. Throws CONFIG_INVALID with a sentence
 * for each table that cannot be shared: nothing is left out in silence.
 */
export async function readShapes(
  client: pg.Client,
  except: readonly string[],
): Promise<ReadonlyMap<string, TableShape>> {
  const { rows } = await client.query<CatalogTable>(TABLES_SQL);
  const problems: string[] = [];
  const shapes = new Map<string, TableShape>();
  for (const row of rows) {
    const name = `${row.schema}.${row.table}`;
    if (except.includes(name) || (row.schema === 'public' && except.includes(row.table))) continue;
    const problem = findProblem(row);
    if (problem !== null) problems.push(`${name} ${problem}`);
    else shapes.set(name, shapeOf(name, row));
  }
  if (problems.length > 0) {
    throw new LockstepError(
      'CONFIG_INVALID',
      `These tables cannot be shared by regions; change them, or name them in "except": ${problems.join('; ')}.`,
      { details: { problems } },
    );
  }
  return shapes;
}

function keyNumbers(row: CatalogTable): readonly number[] {
  return row.key === null ? [] : row.key.split(' ').map(Number);
}

function findProblem(row: CatalogTable): string | null {
  if (row.kind === 'p') return 'is partitioned';
  if (row.persistence === 'u') return 'is unlogged: its changes are in no log that could be sent';
  const key = keyNumbers(row);
  if (key.length === 0) return 'has no primary key, by which a row could be found in another region';
  for (const column of row.columns.filter(({ number }) => key.includes(number))) {
    if (!KEY_TYPES.has(column.typeName) && !column.isEnum)
      return `has a key of type ${column.typeName} (${column.name}): equal keys may differ in their bytes`;
    if (!column.isDeterministic)
      return `has a key with a nondeterministic collation (${column.name}): equal keys may differ in their bytes`;
  }
  return null;
}

function shapeOf(name: string, row: CatalogTable): TableShape {
  return {
    schema: row.schema,
    table: row.table,
    name,
    rowTypeOid: row.rowType,
    columns: row.columns.map(({ name, type, typeName, isGenerated }) => ({
      name,
      typeOid: type,
      typeName,
      isGenerated,
    })),
    key: keyNumbers(row).map((number) => row.columns.findIndex((column) => column.number === number)),
  };
}

/** As SQL takes it. */
export function quoteShape({ schema, table }: Pick<TableShape, 'schema' | 'table'>): string {
  return `${quoteIdentifier(schema)}.${quoteIdentifier(table)}`;
}
