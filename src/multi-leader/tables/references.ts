import type pg from 'pg';
import type { OrphanRule } from '../core/orphan-rule.ts';

/** A foreign key of a shared table that regions look after. */
export interface Reference {
  /** The column that refers to the parent. */
  readonly column: string;
  /** The parent, as `schema.table`, and the column of its primary key. */
  readonly parent: string;
  readonly parentKey: string;
  readonly rule: OrphanRule;
}

interface CatalogReference {
  readonly table: string;
  readonly column: string;
  readonly type: number;
  readonly parent: string;
  readonly parentColumn: string;
  readonly parentType: number;
  readonly isParentKey: boolean;
  readonly identity: string;
}

const REFERENCES_SQL = `
SELECT n.nspname || '.' || c.relname AS table, a.attname AS column, a.atttypid::bigint::int AS type,
       pn.nspname || '.' || p.relname AS parent, b.attname AS "parentColumn", b.atttypid::bigint::int AS "parentType",
       p.relreplident AS identity,
       EXISTS (SELECT FROM pg_index i WHERE i.indrelid = p.oid AND i.indisprimary
               AND i.indkey::text = f.confkey[1]::text) AS "isParentKey"
FROM pg_constraint f
JOIN pg_class c ON c.oid = f.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_class p ON p.oid = f.confrelid JOIN pg_namespace pn ON pn.oid = p.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = f.conkey[1]
JOIN pg_attribute b ON b.attrelid = p.oid AND b.attnum = f.confkey[1]
WHERE f.contype = 'f' AND cardinality(f.conkey) = 1`;

/**
 * Finds the foreign keys that a definition names, by table, and says what is wrong with the others. `shared`: the tables
 * that regions share.
 */
export async function readReferences(
  client: pg.Client,
  rules: Readonly<Record<string, OrphanRule>>,
  shared: ReadonlySet<string>,
): Promise<{ readonly byTable: ReadonlyMap<string, readonly Reference[]>; readonly problems: string[] }> {
  const problems: string[] = [];
  const byTable = new Map<string, Reference[]>();
  if (Object.keys(rules).length === 0) return { byTable, problems };
  const { rows } = await client.query<CatalogReference>(REFERENCES_SQL);
  for (const [name, rule] of Object.entries(rules)) {
    const found = rows.find(
      ({ table, column }) => name === `${table}.${column}` || `public.${name}` === `${table}.${column}`,
    );
    const problem =
      found === undefined ? 'is no foreign key of one column' : findProblem(found, rule, shared);
    if (found === undefined || problem !== null) {
      problems.push(`${name} in foreignKeys ${problem}`);
      continue;
    }
    const { table, column, parent, parentColumn } = found;
    byTable.set(table, [...(byTable.get(table) ?? []), { column, parent, parentKey: parentColumn, rule }]);
  }
  return { byTable, problems };
}

function findProblem(found: CatalogReference, rule: OrphanRule, shared: ReadonlySet<string>): string | null {
  const { table, parent, parentColumn } = found;
  const missing = [table, parent].find((one) => !shared.has(one));
  if (missing !== undefined) return `needs ${missing}, which regions do not share`;
  if (!found.isParentKey) return `refers to ${parent}.${parentColumn}, which is not its whole primary key`;
  if (found.type !== found.parentType) return `has another type than ${parent}.${parentColumn}`;
  if (rule === 'restore-parent' && found.identity !== 'f')
    return `can bring back a row of ${parent} only if its log has whole rows; run ALTER TABLE ${parent} REPLICA IDENTITY FULL`;
  return null;
}
