import type pg from 'pg';
import { quoteIdentifier } from '../../logical/core/quote.ts';
import type { ColumnRule } from '../core/merge.ts';
import { lastWriteWins } from '../column-rules.ts';
import type { TableRules } from '../column-rules.ts';
import { findResolver, rulesFor } from '../definition.ts';
import type { RegionsDefinition } from '../definition.ts';
import { LockstepError } from '../../model/errors.ts';
import { readReferences } from './references.ts';
import type { Reference } from './references.ts';

export interface TableColumn {
  readonly name: string;
  /** On this server; those of types that people made differ from server to server. */
  readonly typeOid: number;
  readonly typeName: string;
  /** Its value is computed here, and comes with no change. */
  readonly isGenerated: boolean;
}

export interface TableOwner {
  readonly name: string;
  readonly oid: number;
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
  /** Positions in `columns` of each other unique index. */
  readonly unique: readonly (readonly number[])[];
  /** Of each of them, the operators by which it finds values equal, as SQL takes them. */
  readonly uniqueOperators: readonly (readonly string[])[];
  /** The owner, with whose rights its changes are written; null where that is who writes, or a superuser. */
  readonly writeAs: TableOwner | null;
  /** How each column merges, where columns merge one by one; null where the last write of a row wins whole. */
  readonly merge: readonly ColumnRule[] | null;
  /** Of each column the regions whose write stays, the first one first; null where nothing is said of it, or of no column. */
  readonly priority: readonly (readonly string[] | null)[] | null;
  /** Whether a function of the app's decides its conflicts. */
  readonly resolves: boolean;
  /** Columns of which each region has its own part, by position, and what none goes below. */
  readonly held: readonly { readonly position: number; readonly min: number }[];
  /** Its foreign keys that regions look after. */
  readonly references: readonly Reference[];
  /** Which of its rows are parents: those of no table, of some table, or of one that gets them back whole. */
  readonly parentOf: 'none' | 'rows' | 'rows-that-come-back';
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

/** Whether a domain or a composite type is in a type `t`, be it behind arrays and ranges: a value's check runs where that is read. */
const IS_CHECKED = `WITH RECURSIVE parts AS (
    SELECT t.oid AS part
    UNION SELECT next.part FROM parts CROSS JOIN LATERAL (
      SELECT e.typelem FROM pg_type e WHERE e.oid = parts.part AND e.typelem <> 0
      UNION ALL SELECT r.rngsubtype FROM pg_range r WHERE parts.part IN (r.rngtypid, r.rngmultitypid)) AS next(part))
  SELECT coalesce(bool_or(k.typtype IN ('d', 'c')), false) AS is_so FROM parts JOIN pg_type k ON k.oid = parts.part`;

const TABLES_SQL = `
SELECT n.nspname AS schema, c.relname AS table, c.reltype AS "rowType", c.relpersistence AS persistence,
       c.relkind AS kind, c.relreplident AS identity, i.indkey::text AS key,
       (SELECT coalesce(json_agg(json_build_object('name', x.indexrelid::regclass::text, 'key', x.indkey::text,
          'operators', ARRAY(
            SELECT format('OPERATOR(%I.%s)', s.nspname, e.oprname)
            FROM unnest(x.indclass::oid[]) WITH ORDINALITY AS u(class, n)
            JOIN pg_opclass k ON k.oid = u.class
            JOIN pg_amop m ON m.amopfamily = k.opcfamily AND m.amopstrategy = 3
              AND (m.amoplefttype, m.amoprighttype) = (k.opcintype, k.opcintype)
            JOIN pg_operator e ON e.oid = m.amopopr JOIN pg_namespace s ON s.oid = e.oprnamespace ORDER BY u.n))), '[]')
        FROM pg_index x WHERE x.indrelid = c.oid AND x.indisunique AND NOT x.indisprimary) AS unique,
       (SELECT json_build_object('name', r.rolname, 'oid', r.oid::bigint) FROM pg_roles r WHERE r.oid = c.relowner AND NOT r.rolsuper AND r.rolname <> current_user) AS "writeAs",
       c.relforcerowsecurity AS "isForcedToRows",
       json_agg(json_build_object('number', a.attnum, 'name', a.attname, 'type', a.atttypid::bigint,
                'typeName', t.typname, 'category', t.typcategory, 'isEnum', t.typtype = 'e',
                'isChecked', checked.is_so, 'isGenerated', a.attgenerated <> '', 'isVirtual', a.attgenerated = 'v',
                'isDeterministic', coalesce(o.collisdeterministic, true)) ORDER BY a.attnum) AS columns
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
JOIN pg_type t ON t.oid = a.atttypid
CROSS JOIN LATERAL (${IS_CHECKED}) checked
LEFT JOIN pg_collation o ON o.oid = a.attcollation
LEFT JOIN pg_index i ON i.indrelid = c.oid AND i.indisprimary
WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition
  AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname NOT LIKE 'lockstep%'
GROUP BY c.oid, 1, 2, 3, 4, 5, 6, 7 ORDER BY 1, 2`;

interface CatalogColumn extends Omit<TableColumn, 'typeOid'> {
  readonly number: number;
  readonly type: number;
  readonly category: string;
  readonly isEnum: boolean;
  readonly isVirtual: boolean;
  /** Its values are checked as they are read, by code that somebody wrote. */
  readonly isChecked: boolean;
  readonly isDeterministic: boolean;
}

interface CatalogTable {
  readonly schema: string;
  readonly table: string;
  readonly rowType: number;
  readonly persistence: string;
  readonly kind: string;
  readonly identity: string;
  readonly writeAs: TableOwner | null;
  readonly isForcedToRows: boolean;
  readonly unique: readonly {
    readonly name: string;
    readonly key: string;
    readonly operators: readonly string[];
  }[];
  readonly key: string | null;
  readonly columns: readonly CatalogColumn[];
}

/**
 * All tables of a database that regions share, by name, and how their columns merge. Throws CONFIG_INVALID with a sentence
 * for each table that cannot be shared: nothing is left out in silence.
 */
export async function readShapes(
  client: pg.Client,
  definition: Pick<RegionsDefinition, 'except' | 'tables' | 'foreignKeys'>,
): Promise<ReadonlyMap<string, TableShape>> {
  const { except = [], tables = {}, foreignKeys = {} } = definition;
  const { rows } = await client.query<CatalogTable>(TABLES_SQL);
  const problems: string[] = [];
  const shapes = new Map<string, TableShape>();
  for (const row of rows) {
    const name = `${row.schema}.${row.table}`;
    const isNamed = (one: string): boolean => one === name || (row.schema === 'public' && one === row.table);
    if (except.some(isNamed)) continue;
    const rules = rulesFor(definition, name);
    const resolves = findResolver(definition, name) !== null;
    const problem = findProblem(row) ?? (rules === null ? null : findMergeProblem(row, rules, resolves));
    if (problem !== null) problems.push(`${name} ${problem}`);
    else shapes.set(name, { ...shapeOf(name, row, rules), resolves });
  }
  const unknown = [...except, ...Object.keys(tables)].filter(
    (one) =>
      !rows.some(
        ({ schema, table }) => one === `${schema}.${table}` || (schema === 'public' && one === table),
      ),
  );
  const references = await readReferences(client, foreignKeys, new Set(shapes.keys()));
  refuse(problems, [
    ...unknown.map((one) => `${one} is in the definition, and no table has that name`),
    ...references.problems,
  ]);
  return linkShapes(shapes, references.byTable);
}

/** What is wrong with a table and what is wrong with a definition have remedies of their own. */
function refuse(tables: readonly string[], definition: readonly string[]): void {
  if (tables.length + definition.length === 0) return;
  const sentences: string[] = [];
  if (tables.length > 0)
    sentences.push(
      `These tables cannot be shared by regions; change them, or name them in "except": ${tables.join('; ')}.`,
    );
  if (definition.length > 0)
    sentences.push(`Correct the definition, or what it names: ${definition.join('; ')}.`);
  throw new LockstepError('CONFIG_INVALID', sentences.join(' '), {
    details: { problems: [...tables, ...definition] },
  });
}

function linkShapes(
  shapes: ReadonlyMap<string, TableShape>,
  byTable: ReadonlyMap<string, readonly Reference[]>,
): ReadonlyMap<string, TableShape> {
  const all = [...byTable.values()].flat();
  return new Map(
    [...shapes].map(([name, shape]) => {
      const rules = all.filter(({ parent }) => parent === name).map(({ rule }) => rule);
      const comesBack = rules.includes('restore-parent');
      const parentOf = comesBack ? 'rows-that-come-back' : rules.length > 0 ? 'rows' : 'none';
      return [name, { ...shape, references: byTable.get(name) ?? [], parentOf }];
    }),
  );
}

function keyNumbers(row: CatalogTable): readonly number[] {
  return row.key === null ? [] : row.key.split(' ').map(Number);
}

function findProblem(row: CatalogTable): string | null {
  if (row.kind === 'p') return 'is partitioned';
  if (row.persistence === 'u') return 'is unlogged: its changes are in no log that could be sent';
  if (row.identity === 'f' && row.columns.some(({ isVirtual }) => isVirtual))
    return 'has REPLICA IDENTITY FULL and a virtual generated column, which together let PostgreSQL refuse its updates';
  if (row.writeAs !== null) {
    const checked = row.columns.find(({ isChecked }) => isChecked);
    if (checked !== undefined)
      return `has a column of type ${checked.typeName} (${checked.name}), whose values are checked before ${row.writeAs.name}, who owns it, can write them; let who runs the regions own it`;
    if (row.isForcedToRows)
      return `has FORCE ROW LEVEL SECURITY, which hides rows from ${row.writeAs.name}, who owns it and writes them`;
  }
  const key = keyNumbers(row);
  if (key.length === 0) return 'has no primary key, by which a row could be found in another region';
  for (const column of row.columns.filter(({ number }) => key.includes(number))) {
    if (!KEY_TYPES.has(column.typeName) && !column.isEnum)
      return `has a key of type ${column.typeName} (${column.name}): equal keys may differ in their bytes`;
    if (!column.isDeterministic)
      return `has a key with a nondeterministic collation (${column.name}): equal keys may differ in their bytes`;
  }
  // Column 0 stands for an expression.
  const computed = row.unique.find((index) => index.key.split(' ').includes('0'));
  if (computed !== undefined)
    return `has a unique index over an expression (${computed.name}): whose row holds a value cannot be found by it`;
  return null;
}

const NUMBER_TYPES: ReadonlySet<string> = new Set(['int2', 'int4', 'int8', 'numeric']);

function findMergeProblem(row: CatalogTable, rules: TableRules, resolves: boolean): string | null {
  if (row.identity !== 'f')
    return `merges by columns, for which each change must carry the row before it; run ALTER TABLE ${quoteShape(row)} REPLICA IDENTITY FULL`;
  if (resolves && Object.values(rules).some((merge) => merge?.rule === 'priority'))
    return 'has a resolver and regionPriority, which both decide about its conflicts; let the resolver do it';
  const key = keyNumbers(row);
  for (const [name, merge] of Object.entries(rules)) {
    if (name === '*' || merge === undefined) continue;
    const { rule } = merge;
    const column = row.columns.find((one) => one.name === name);
    if (column === undefined) return `has no column ${name}, which the definition names`;
    if (key.includes(column.number) && rule !== 'last')
      return `has ${name} in its primary key, which cannot merge`;
    if (column.isGenerated) return `computes ${name}, which cannot merge`;
    if (rule === 'escrow') {
      const problem = findEscrowProblem(row, column);
      if (problem !== null) return problem;
    }
    if (rule === 'set' && column.category !== 'A')
      return `has ${name} of type ${column.typeName}, and a set is an array`;
    if ((rule === 'counter' || rule === 'max' || rule === 'min') && !NUMBER_TYPES.has(column.typeName))
      return `has ${name} of type ${column.typeName}; a ${rule} is an integer or numeric`;
  }
  return null;
}

function priorityOf(row: CatalogTable, rules: TableRules | null): (readonly string[] | null)[] | null {
  const key = keyNumbers(row);
  const orders = row.columns.map(({ name, number, isGenerated }) =>
    key.includes(number) || isGenerated ? null : ((rules?.[name] ?? rules?.['*'])?.order ?? null),
  );
  return orders.some((order) => order !== null) ? orders : null;
}

function findEscrowProblem(row: CatalogTable, { name, typeName, number }: CatalogColumn): string | null {
  if (!['int2', 'int4', 'int8'].includes(typeName))
    return `has ${name} of type ${typeName}; parts of a number are integers`;
  if (row.writeAs !== null)
    return `has parts in ${name}, which who runs the regions moves; let that user own the table, and not ${row.writeAs.name}`;
  if (row.unique.some((index) => index.key.split(' ').includes(String(number))))
    return `has ${name} in a unique index, and each region has its own value there`;
  return null;
}

function shapeOf(name: string, row: CatalogTable, rules: TableRules | null): TableShape {
  const position = (number: number): number => row.columns.findIndex((column) => column.number === number);
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
    key: keyNumbers(row).map(position),
    writeAs: row.writeAs,
    uniqueOperators: row.unique.map(({ operators }) => operators),
    unique: row.unique.map(({ key }) => key.split(' ').map((number) => position(Number(number)))),
    merge:
      rules === null
        ? null
        : row.columns.map((column) => {
            const { rule } = rules[column.name] ?? rules['*'] ?? lastWriteWins();
            return rule === 'priority' ? 'last' : rule;
          }),
    priority: priorityOf(row, rules),
    resolves: false,
    held: row.columns.flatMap((column, position) => {
      const merge = rules?.[column.name];
      return merge?.rule === 'escrow' ? [{ position, min: merge.min ?? 0 }] : [];
    }),
    references: [],
    parentOf: 'none',
  };
}

/** As SQL takes it. */
export function quoteShape({ schema, table }: Pick<TableShape, 'schema' | 'table'>): string {
  return `${quoteIdentifier(schema)}.${quoteIdentifier(table)}`;
}
