import type { CatalogNames } from './catalog-names.ts';
import {
  graver,
  judgeCommand,
  judgeFunction,
  judgeName,
  READS_ONLY,
  ROW_LOCKS,
  unknownCall,
} from './judge.ts';
import type { Verdict } from './judge.ts';

type Node = Readonly<Record<string, unknown>>;

/** The two ways to sample a table that PostgreSQL brings along. */
const SAMPLING_METHODS = new Set(['system', 'bernoulli']);

/**
 * Judges a statement by the tree that PostgreSQL's own parser makes of it, as `libpg-query` gives it: `read`
 * when it is one query without a modifying or locking clause, and every function and name is harmless.
 */
export function judgeTree(tree: unknown, known: CatalogNames): Verdict {
  const statements = isNode(tree) ? tree['stmts'] : null;
  if (!Array.isArray(statements) || statements.length !== 1) return judgeCommand('several statements');
  const statement: unknown = (statements[0] as Node)['stmt'];
  if (!isNode(statement) || !('SelectStmt' in statement)) return judgeCommand('not a query');
  let verdict = READS_ONLY;
  const pending: unknown[] = [statement];
  while (pending.length > 0) {
    const node = pending.pop();
    if (Array.isArray(node)) {
      for (const element of node) pending.push(element);
      continue;
    }
    if (!isNode(node)) continue;
    for (const [key, child] of Object.entries(node)) {
      const found = judgeNode(key, child, known);
      if (found !== null) verdict = graver(verdict, found);
      // The parts of a function's name are judged together.
      if (key !== 'funcname' && key !== 'method') pending.push(child);
    }
  }
  return verdict;
}

function judgeNode(key: string, child: unknown, known: CatalogNames): Verdict | null {
  if (key.endsWith('Stmt') && key !== 'SelectStmt') {
    return judgeCommand(key.slice(0, -'Stmt'.length).toUpperCase());
  }
  if (!isNode(child)) return null;
  switch (key) {
    case 'intoClause':
      return judgeCommand('INTO');
    case 'LockingClause':
      return ROW_LOCKS;
    case 'FuncCall': {
      const names = readNames(child['funcname']);
      return judgeFunction(names.at(-2) ?? null, names.at(-1) ?? '', known);
    }
    case 'RangeTableSample': {
      const name = readNames(child['method']).at(-1) ?? '';
      return SAMPLING_METHODS.has(name) ? null : unknownCall(name);
    }
    case 'RangeVar':
      return judgeRelation(child, known);
    case 'String':
      return typeof child['sval'] === 'string' ? judgeName(child['sval'], known) : null;
    default:
      return null;
  }
}

function judgeRelation(relation: Node, known: CatalogNames): Verdict | null {
  const { schemaname, relname } = relation;
  const inSchema = typeof schemaname === 'string' ? judgeName(schemaname, known) : null;
  return inSchema ?? (typeof relname === 'string' ? judgeName(relname, known) : null);
}

function readNames(list: unknown): string[] {
  if (!Array.isArray(list)) return [];
  return list.map((entry: unknown) => {
    const name = isNode(entry) && isNode(entry['String']) ? entry['String']['sval'] : '';
    return typeof name === 'string' ? name : '';
  });
}

function isNode(value: unknown): value is Node {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
