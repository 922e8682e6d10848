import { quoteIdentifier, quoteTable } from '../../core/quote.ts';
import type { Relation } from '../../core/relation.ts';
import { isBuiltIn, isSameInBinary } from './target-table.ts';
import type { ForeignKey, PgType, TargetColumn, TargetTable } from './target-table.ts';

/** How the values of one column travel to the target. */
export interface ColumnPlan {
  readonly name: string;
  /** Of the column, on the target. */
  readonly typeOid: number;
  /** Of the array's elements, on the target. */
  readonly elementOid: number;
  /** The parameter's type, as SQL. */
  readonly arraySql: string;
  /** Behind a value of the array, to make it one of the column; empty where it is one. */
  readonly cast: string;
  readonly isSettable: boolean;
}

/** A foreign key to the columns by which rows of another table are told apart. */
export interface Reference {
  /** The other table, quoted. */
  readonly table: string;
  /** Which of the relation's columns refer, in the order of the other table's columns. */
  readonly columns: readonly number[];
}

/** How a table's changes are written at the target. A new relation needs a new plan. */
export interface TablePlan {
  readonly relation: Relation;
  readonly table: string;
  /** With whose rights it is written; null: with the session's. */
  readonly owner: string | null;
  /** At the target, whatever it is at the source. */
  readonly isPartitioned: boolean;
  /** By the relation's columns; null for one that the target generates itself. */
  readonly columns: readonly (ColumnPlan | null)[];
  /** Which of the relation's columns tell a row from all others; empty where none do. */
  readonly key: readonly number[];
  /** By index, for the walk over a row. */
  readonly isKey: readonly boolean[];
  readonly lastKey: number;
  /** What its rows refer to, as the source has it. */
  readonly references: readonly Reference[];
  /** Whether new rows can come by COPY: their bytes are those of the target's own types. */
  readonly canCopy: boolean;
  /** Whether an update may leave out a large value. */
  readonly mayBeUnchanged: boolean;
  /** Texts by what they do; filled as they are needed. */
  readonly texts: Map<string, string>;
}

/** Why there is no plan: the target does not fit (people must act), or values have to travel as text. */
export type PlanRefusal =
  { readonly kind: 'misfit'; readonly sentence: string } | { readonly kind: 'text-only' };

export type PlanResult = { readonly kind: 'plan'; readonly plan: TablePlan } | PlanRefusal;

/** Types of fixed length, which are never stored apart. */
const FIXED = new Set([
  16, 18, 20, 21, 23, 26, 700, 701, 790, 1082, 1083, 1114, 1184, 1186, 1266, 2950, 3220,
]);
const TEXT_OID = 25;

/** Fits a published table to the target's. `typeOf` gives the publisher's types. */
export function planTable(options: {
  readonly relation: Relation;
  readonly target: TargetTable | null;
  readonly typeOf: (oid: number) => PgType | undefined;
  readonly format: 'binary' | 'text';
  readonly foreignKeys?: readonly ForeignKey[];
}): PlanResult {
  const { relation, target, format, foreignKeys = [] } = options;
  const name = `${relation.schema}.${relation.name}`;
  if (target === null) return misfit(`Create table ${name} at the target; it is not there.`);
  const columns: (ColumnPlan | null)[] = [];
  for (const { name: columnName, typeOid } of relation.columns) {
    const column = target.columns.find((candidate) => candidate.name === columnName);
    if (column === undefined)
      return misfit(`Add column ${columnName} to table ${name} at the target; the source has it.`);
    if (column.isGenerated) {
      columns.push(null);
      continue;
    }
    const type = options.typeOf(typeOid);
    const plan =
      format === 'text' ? planAsText(column) : type === undefined ? null : planAsBinary(type, column);
    if (plan === null) return { kind: 'text-only' };
    columns.push(plan);
  }
  const key = chooseKey(relation, target);
  if (key === null) {
    return misfit(
      `Give table ${name} a primary key at the target, over ${keyNames(relation)}; rows cannot be told apart without.`,
    );
  }
  const generated = key.find((index) => columns[index] === null);
  if (generated !== undefined)
    return misfit(
      `Make column ${relation.columns[generated]?.name} of table ${name} an ordinary one at the target: rows are found by it, and it is generated there.`,
    );
  return {
    kind: 'plan',
    plan: {
      relation,
      table: quoteTable(target),
      owner: target.runsAs,
      isPartitioned: target.isPartitioned,
      columns,
      key,
      isKey: relation.columns.map((_, index) => key.includes(index)),
      lastKey: Math.max(-1, ...key),
      references: foreignKeys.flatMap((each) => {
        const columnsOf = each.columns.map((column) => relation.columns.findIndex((c) => c.name === column));
        return columnsOf.includes(-1) ? [] : [{ table: quoteTable(each), columns: columnsOf }];
      }),
      canCopy: format === 'binary' && columns.every((column) => column === null || column.cast === ''),
      mayBeUnchanged: relation.columns.some(({ typeOid }) => !FIXED.has(typeOid)),
      texts: new Map(),
    },
  };
}

function misfit(sentence: string): PlanRefusal {
  return { kind: 'misfit', sentence };
}

function keyNames(relation: Relation): string {
  const names = relation.columns.filter(({ isKey }) => isKey).map(({ name }) => name);
  return names.length === 0 ? 'columns that are never null' : names.join(', ');
}

/** Null where the source sends updates that the target could not match. Empty: no rows but new ones can come. */
function chooseKey(relation: Relation, target: TargetTable): readonly number[] | null {
  const indexesOf = (names: readonly string[]): number[] =>
    names.map((name) => relation.columns.findIndex((column) => column.name === name));
  if (relation.replicaIdentity === 'full') {
    const known = target.keys.map(indexesOf).find((indexes) => !indexes.includes(-1));
    return known?.toSorted((a, b) => a - b) ?? [];
  }
  const identity = relation.columns.flatMap(({ isKey }, index) => (isKey ? [index] : []));
  if (identity.length === 0) return [];
  // A key of fewer columns tells rows apart too.
  const isUnique = target.keys.some((names) => indexesOf(names).every((index) => identity.includes(index)));
  return isUnique ? identity : null;
}

function typeSql(type: PgType): string {
  return `${quoteIdentifier(type.schema)}.${quoteIdentifier(type.name)}`;
}

function planAsText({ name, type, isIdentityAlways }: TargetColumn): ColumnPlan {
  const cast = type.oid === TEXT_OID ? '' : `::${typeSql(type)}`;
  return {
    name,
    typeOid: type.oid,
    elementOid: TEXT_OID,
    arraySql: 'pg_catalog.text[]',
    cast,
    isSettable: !isIdentityAlways,
  };
}

function planAsBinary(from: PgType, column: TargetColumn): ColumnPlan | null {
  const { name, type: to, wrapper } = column;
  const isSettable = !column.isIdentityAlways;
  const typeOid = to.oid;
  if (isSameInBinary(from, to)) {
    if (from.kind === 'array') {
      return wrapper === null
        ? null
        : { name, typeOid, elementOid: wrapper.oid, arraySql: `${wrapper.sql}[]`, cast: '', isSettable };
    }
    return { name, typeOid, elementOid: to.oid, arraySql: `${typeSql(to)}[]`, cast: '', isSettable };
  }
  // The source's own type is known here too: it goes in as that and is cast.
  if (isBuiltIn(from) && isSameInBinary(from, from) && from.kind !== 'array') {
    return {
      name,
      typeOid,
      elementOid: from.oid,
      arraySql: `${typeSql(from)}[]`,
      cast: `::${typeSql(to)}`,
      isSettable,
    };
  }
  return null;
}

const column = (index: number): string => `c${index}`;
const old = (index: number): string => `o${index}`;

/** Which of the relation's columns the statement takes, in the order of its parameters. */
export interface StatementShape {
  readonly news: readonly number[];
  readonly olds: readonly number[];
}

/** `FROM unnest(…)` over one array for each value. */
function source(plan: TablePlan, { news, olds }: StatementShape): string {
  const all = [...news, ...olds];
  const arrays = all.map((index, at) => `$${at + 1}::${plan.columns[index]?.arraySql ?? 'text[]'}`);
  return `unnest(${arrays.join(', ')}) AS u(${[...news.map(column), ...olds.map(old)].join(', ')})`;
}

function value(plan: TablePlan, index: number, alias: (index: number) => string): string {
  return `u.${alias(index)}${plan.columns[index]?.cast ?? ''}`;
}

function nameOf(plan: TablePlan, index: number): string {
  return quoteIdentifier(plan.columns[index]?.name ?? '');
}

/** How a changed row is found: by its key, or where there is none, as one of those that look just like it. */
function match(plan: TablePlan, alias: (index: number) => string, candidates: readonly number[]): string {
  if (plan.key.length > 0)
    return plan.key.map((index) => `t.${nameOf(plan, index)} = ${value(plan, index, alias)}`).join(' AND ');
  const same = candidates.map(
    (index) => `x.${nameOf(plan, index)}::text IS NOT DISTINCT FROM (${value(plan, index, alias)})::text`,
  );
  return `(t.tableoid, t.ctid) = (SELECT x.tableoid, x.ctid FROM ${plan.table} AS x WHERE ${same.join(' AND ')} LIMIT 1)`;
}

function written(plan: TablePlan): readonly number[] {
  return plan.columns.flatMap((each, index) => (each === null ? [] : [index]));
}

export function insertShape(plan: TablePlan): StatementShape {
  return { news: written(plan), olds: [] };
}

export function insertText(plan: TablePlan): string {
  return remember(plan, 'insert', () => {
    const { news } = insertShape(plan);
    const names = news.map((index) => nameOf(plan, index)).join(', ');
    const values = news.map((index) => value(plan, index, column)).join(', ');
    return `INSERT INTO ${plan.table} (${names}) OVERRIDING SYSTEM VALUE SELECT ${values} FROM ${source(plan, insertShape(plan))}`;
  });
}

export function copyText(plan: TablePlan): string {
  return remember(plan, 'copy', () => {
    const names = written(plan).map((index) => nameOf(plan, index));
    return `COPY ${plan.table} (${names.join(', ')}) FROM STDIN (FORMAT binary)`;
  });
}

/** `unchanged`: by column, whether the update leaves it as it is. */
export function updateShape(plan: TablePlan, unchanged: string): StatementShape {
  const news = written(plan).filter((index) => plan.isKey[index] === true || unchanged[index] !== 'u');
  return { news, olds: [] };
}

/** Empty where an update has nothing to set. */
export function updateText(plan: TablePlan, unchanged: string): string {
  return remember(plan, `update ${unchanged}`, () => {
    const shape = updateShape(plan, unchanged);
    const set = shape.news.filter((index) => plan.isKey[index] !== true);
    return assignment(plan, set, source(plan, shape), match(plan, column, []));
  });
}

/** An update that changes the key, or of a table without one: the old row is found by what it was. */
export function replaceShape(plan: TablePlan, unchanged: string): StatementShape {
  const news = written(plan).filter((index) => unchanged[index] !== 'u');
  return { news, olds: plan.key.length > 0 ? plan.key : written(plan) };
}

export function replaceText(plan: TablePlan, unchanged: string): string {
  return remember(plan, `replace ${unchanged}`, () => {
    const shape = replaceShape(plan, unchanged);
    return assignment(plan, shape.news, source(plan, shape), match(plan, old, shape.olds));
  });
}

function assignment(plan: TablePlan, set: readonly number[], from: string, where: string): string {
  const settable = set.filter((index) => plan.columns[index]?.isSettable === true);
  if (settable.length === 0) return '';
  const list = settable.map((index) => `${nameOf(plan, index)} = ${value(plan, index, column)}`).join(', ');
  return `UPDATE ${plan.table} AS t SET ${list} FROM ${from} WHERE ${where}`;
}

export function deleteShape(plan: TablePlan): StatementShape {
  return { news: [], olds: plan.key.length > 0 ? plan.key : written(plan) };
}

export function deleteText(plan: TablePlan): string {
  return remember(plan, 'delete', () => {
    const shape = deleteShape(plan);
    return `DELETE FROM ${plan.table} AS t USING ${source(plan, shape)} WHERE ${match(plan, old, shape.olds)}`;
  });
}

function remember(plan: TablePlan, what: string, write: () => string): string {
  let text = plan.texts.get(what);
  if (text === undefined) {
    text = write();
    plan.texts.set(what, text);
  }
  return text;
}
