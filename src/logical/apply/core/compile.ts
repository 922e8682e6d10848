import { quoteTable } from '../../core/quote.ts';
import type { Change, RowChange, TruncateChange } from '../../core/change.ts';
import type { Relation } from '../../core/relation.ts';
import { firstField, nextField, UNCHANGED_FIELD } from '../../core/tuple.ts';
import { ArrayParameter } from './array-parameter.ts';
import { toCopyData } from './copy-data.ts';
import {
  copyText,
  deleteShape,
  deleteText,
  insertShape,
  insertText,
  replaceShape,
  replaceText,
  updateShape,
  updateText,
} from './table-plan.ts';
import type { StatementShape, TablePlan } from './table-plan.ts';

/** A statement for the target, and how many rows it must find. */
export interface ApplyStatement {
  readonly text: string;
  readonly values: readonly Buffer[];
  readonly copyData?: Buffer;
  readonly kind: 'insert' | 'update' | 'delete' | 'truncate' | 'role';
  /** The table it writes to, for people. */
  readonly table: string;
  readonly rows: number;
  /** With whose rights it runs; null: with the session's. */
  readonly owner: string | null;
}

export type PlanOf = (relation: Relation) => TablePlan;

/** So few rows are inserted faster than a COPY begins. */
const COPY_ROWS = 5;

/** What a batch comes to for one row. */
interface Entry {
  kind: 'insert' | 'update' | 'delete';
  buffer: Buffer;
  at: number;
}

/** A row as of where its bytes begin. */
type RowAt = Pick<Entry, 'buffer' | 'at'>;

/** Rows of one table by the bytes of their keys, in the order in which they first came. */
interface TableRows {
  readonly plan: TablePlan;
  readonly byKey: Map<string, Entry>;
  readonly keyless: RowAt[];
}

/**
 * Writes changes as few statements: those of one row come to one, rows of one table go into one statement.
 * Statements follow each other so that a value that was freed is free before it is taken again: deletes,
 * updates, inserts. Two updates that swap a unique value still collide; {@link compileExact} does not.
 * Keys are compared by their bytes. That is right although PostgreSQL may hold different bytes for equal: the
 * source sends a row's own stored key, and a change of its bytes as a changed key, which stands alone here.
 */
export function compileGrouped(changes: Iterable<Change>, planOf: PlanOf): ApplyStatement[] {
  const statements: ApplyStatement[] = [];
  let tables = new Map<number, TableRows>();
  const close = (): void => {
    if (tables.size === 0) return;
    writeTables([...tables.values()], statements);
    tables = new Map();
  };
  for (const change of changes) {
    if (change.kind === 'message') continue;
    if (change.kind === 'truncate') {
      close();
      statements.push(truncate(change, planOf));
      continue;
    }
    let rows = tables.get(change.relation.oid);
    if (rows !== undefined && rows.plan.relation !== change.relation) {
      // The table was altered in between: its rows before and after go into different statements.
      close();
      rows = undefined;
    }
    const plan = rows?.plan ?? planOf(change.relation);
    if (change.kind !== 'insert' && standsAlone(plan, change)) {
      close();
      pushAlone(plan, change, statements);
      continue;
    }
    if (rows === undefined) {
      rows = { plan, byKey: new Map(), keyless: [] };
      tables.set(change.relation.oid, rows);
    }
    collapse(rows, change);
  }
  close();
  return statements;
}

/** Writes each change as its own statement, in the source's order. */
export function compileExact(changes: Iterable<Change>, planOf: PlanOf): ApplyStatement[] {
  const statements: ApplyStatement[] = [];
  for (const change of changes) {
    if (change.kind === 'message') continue;
    if (change.kind === 'truncate') {
      statements.push(truncate(change, planOf));
      continue;
    }
    const plan = planOf(change.relation);
    if (change.kind !== 'insert' && standsAlone(plan, change)) {
      pushAlone(plan, change, statements);
      continue;
    }
    const rows: TableRows = { plan, byKey: new Map(), keyless: [] };
    collapse(rows, change);
    writeTables([rows], statements);
  }
  return statements;
}

/** Names of the rows that a change reads or writes, for what depends on it; `*` stands for any row of a table. */
export function rowNames(change: Change, planOf: PlanOf): readonly string[] {
  if (change.kind === 'message') return [];
  if (change.kind === 'truncate') return change.relations.map((relation) => `${planOf(relation).table} *`);
  const plan = planOf(change.relation);
  if (plan.key.length === 0) return [`${plan.table} *`];
  const rows = [rowOf(plan, change)];
  if (change.kind === 'update' && change.oldAt >= 0) rows.push({ buffer: change.buffer, at: change.oldAt });
  return rows.map((row) => `${plan.table} ${Buffer.from(keyOf(plan, row), 'latin1').toString('hex')}`);
}

/** Names, as of {@link rowNames}, of the rows that the row refers to after the change. */
export function referencedNames(change: Change, planOf: PlanOf): readonly string[] {
  if (change.kind === 'message' || change.kind === 'truncate' || change.newAt < 0) return [];
  const { references } = planOf(change.relation);
  if (references.length === 0) return [];
  const fields: { start: number; end: number }[] = [];
  let field = firstField(change.newAt);
  for (let index = 0; index < change.relation.columns.length; index++) {
    const next = nextField(change.buffer, field);
    fields.push({ start: field, end: next });
    field = next;
  }
  return references.flatMap(({ table, columns }) => {
    const parts = columns.flatMap((index) => fields[index] ?? []);
    // A value that is NULL or was not sent is one byte: it refers to nothing, or to what it did before.
    if (parts.some(({ start, end }) => end - start === 1)) return [];
    const key = Buffer.concat(parts.map(({ start, end }) => change.buffer.subarray(start, end)));
    return [`${table} ${key.toString('hex')}`];
  });
}

/** Whether a change may not be put together with others: its row's key changes, or it has none. */
function standsAlone(plan: TablePlan, change: RowChange): boolean {
  if (plan.key.length === 0) return true;
  if (change.kind !== 'update' || change.oldAt < 0) return false;
  let before = firstField(change.oldAt);
  let after = firstField(change.newAt);
  const { buffer } = change;
  for (let index = 0; index <= plan.lastKey; index++) {
    const [beforeEnd, afterEnd] = [nextField(buffer, before), nextField(buffer, after)];
    const isSame =
      plan.isKey[index] !== true ||
      buffer[after] === UNCHANGED_FIELD ||
      buffer.compare(buffer, before, beforeEnd, after, afterEnd) === 0;
    if (!isSame) return true;
    before = beforeEnd;
    after = afterEnd;
  }
  return false;
}

function pushAlone(plan: TablePlan, change: RowChange, statements: ApplyStatement[]): void {
  const oldRow = { buffer: change.buffer, at: change.oldAt };
  if (change.kind === 'delete') {
    pushStatement(statements, plan, 'delete', deleteText(plan), deleteShape(plan), [oldRow], [oldRow]);
    return;
  }
  const newRow = { buffer: change.buffer, at: change.newAt };
  const unchanged = unchangedOf(plan, newRow);
  const text = replaceText(plan, unchanged);
  pushStatement(statements, plan, 'update', text, replaceShape(plan, unchanged), [newRow], [oldRow]);
}

function collapse(rows: TableRows, change: RowChange): void {
  const { plan, byKey } = rows;
  const row = rowOf(plan, change);
  if (plan.key.length === 0) {
    rows.keyless.push(row);
    return;
  }
  const key = keyOf(plan, row);
  const earlier = byKey.get(key);
  if (earlier === undefined) {
    byKey.set(key, { kind: change.kind, buffer: row.buffer, at: row.at });
    return;
  }
  if (change.kind === 'delete') {
    // A row that came and went within the batch was never there.
    if (earlier.kind === 'insert') byKey.delete(key);
    else Object.assign(earlier, { kind: 'delete', ...row });
    return;
  }
  // What was deleted and inserted again is there already.
  if (earlier.kind === 'delete') Object.assign(earlier, { kind: 'update', ...row });
  else Object.assign(earlier, plan.mayBeUnchanged ? merge(plan, earlier, row) : row);
}

/** Where the values lie by which the change is written, with its whole key. */
function rowOf(plan: TablePlan, change: RowChange): RowAt {
  const { buffer } = change;
  if (change.kind === 'delete') return { buffer, at: change.oldAt };
  const row = { buffer, at: change.newAt };
  // A large key that did not change is left out of the new row, but then the old one was sent.
  return change.oldAt >= 0 && plan.mayBeUnchanged ? mergeKey(plan, { buffer, at: change.oldAt }, row) : row;
}

/** The length before each value makes the keys of several columns unambiguous. */
function keyOf(plan: TablePlan, { buffer, at }: RowAt): string {
  let field = firstField(at);
  let key = '';
  for (let index = 0; index <= plan.lastKey; index++) {
    const next = nextField(buffer, field);
    if (plan.isKey[index] === true) key += buffer.toString('latin1', field, next);
    field = next;
  }
  return key;
}

/** `u` for each column that the row leaves as it is, `-` for the others; empty where it sets all. */
function unchangedOf(plan: TablePlan, { buffer, at }: RowAt): string {
  if (!plan.mayBeUnchanged) return '';
  let mask = '';
  let isWhole = true;
  let field = firstField(at);
  for (let index = 0; index < plan.columns.length; index++) {
    const isUnchanged = buffer[field] === UNCHANGED_FIELD;
    if (isUnchanged) {
      if (isWhole) mask = '-'.repeat(index);
      isWhole = false;
    }
    if (!isWhole) mask += isUnchanged ? 'u' : '-';
    field = nextField(buffer, field);
  }
  return mask;
}

/** The later row, with the earlier one's values where the later leaves them as they are. */
function merge(plan: TablePlan, earlier: RowAt, later: RowAt): RowAt {
  return unchangedOf(plan, later) === '' ? later : mergeFields(plan, earlier, later, () => true);
}

function mergeKey(plan: TablePlan, oldRow: RowAt, row: RowAt): RowAt {
  const mask = unchangedOf(plan, row);
  const lacksKey = plan.key.some((index) => mask[index] === 'u');
  return lacksKey ? mergeFields(plan, oldRow, row, (index) => plan.isKey[index] === true) : row;
}

function mergeFields(
  plan: TablePlan,
  earlier: RowAt,
  later: RowAt,
  isTaken: (index: number) => boolean,
): RowAt {
  const fields = [later.buffer.subarray(later.at, firstField(later.at))];
  let before = firstField(earlier.at);
  let after = firstField(later.at);
  for (let index = 0; index < plan.columns.length; index++) {
    const [beforeEnd, afterEnd] = [nextField(earlier.buffer, before), nextField(later.buffer, after)];
    const isKept = later.buffer[after] === UNCHANGED_FIELD && isTaken(index);
    fields.push(isKept ? earlier.buffer.subarray(before, beforeEnd) : later.buffer.subarray(after, afterEnd));
    before = beforeEnd;
    after = afterEnd;
  }
  return { buffer: Buffer.concat(fields), at: 0 };
}

function writeTables(tables: readonly TableRows[], statements: ApplyStatement[]): void {
  // What came first is referred to by what came later, so that it goes last and comes first.
  for (const { plan, byKey } of tables.toReversed()) {
    const rows = [...byKey.values()].filter(({ kind }) => kind === 'delete');
    if (rows.length > 0)
      pushStatement(statements, plan, 'delete', deleteText(plan), deleteShape(plan), rows, rows);
  }
  for (const { plan, byKey } of tables) writeUpdates(plan, byKey, statements);
  for (const { plan, byKey, keyless } of tables) {
    const rows = keyless.length > 0 ? keyless : [...byKey.values()].filter(({ kind }) => kind === 'insert');
    if (rows.length > 0) pushInsert(statements, plan, rows);
  }
}

/** COPY puts a page's rows into the log together, and INSERT each for itself. */
function pushInsert(statements: ApplyStatement[], plan: TablePlan, rows: readonly RowAt[]): void {
  if (!plan.canCopy || rows.length < COPY_ROWS) {
    pushStatement(statements, plan, 'insert', insertText(plan), insertShape(plan), rows, rows);
    return;
  }
  const { schema, name } = plan.relation;
  statements.push({
    text: copyText(plan),
    values: [],
    copyData: toCopyData(plan, rows),
    kind: 'insert',
    table: `${schema}.${name}`,
    rows: rows.length,
    owner: plan.owner,
  });
}

function writeUpdates(
  plan: TablePlan,
  byKey: ReadonlyMap<string, Entry>,
  statements: ApplyStatement[],
): void {
  const byMask = new Map<string, Entry[]>();
  for (const entry of byKey.values()) {
    if (entry.kind !== 'update') continue;
    const mask = unchangedOf(plan, entry);
    const group = byMask.get(mask);
    if (group === undefined) byMask.set(mask, [entry]);
    else group.push(entry);
  }
  for (const [mask, rows] of byMask) {
    const text = updateText(plan, mask);
    if (text === '') continue;
    pushStatement(statements, plan, 'update', text, updateShape(plan, mask), rows, rows);
  }
}

function pushStatement(
  statements: ApplyStatement[],
  plan: TablePlan,
  kind: ApplyStatement['kind'],
  text: string,
  shape: StatementShape,
  newRows: readonly RowAt[],
  oldRows: readonly RowAt[],
): void {
  if (text === '') return;
  const values = [...toArrays(plan, shape.news, newRows), ...toArrays(plan, shape.olds, oldRows)];
  const { schema, name } = plan.relation;
  const table = `${schema}.${name}`;
  statements.push({ text, values, kind, table, rows: newRows.length, owner: plan.owner });
}

/** One array for each of the columns, with the rows' values. */
function toArrays(plan: TablePlan, taken: readonly number[], rows: readonly RowAt[]): Buffer[] {
  if (taken.length === 0) return [];
  const width = plan.columns.length;
  const arrays: (ArrayParameter | null)[] = plan.columns.map(() => null);
  for (const index of taken) arrays[index] = new ArrayParameter();
  for (const { buffer, at } of rows) {
    let field = firstField(at);
    for (let index = 0; index < width; index++) {
      const next = nextField(buffer, field);
      const array = arrays[index] as ArrayParameter | null;
      if (array !== null) {
        if (next - field === 1) array.addNull();
        else array.addField(buffer, field + 1, next - field - 1);
      }
      field = next;
    }
  }
  return taken.map((index) => (arrays[index] as ArrayParameter).finish(plan.columns[index]?.elementOid ?? 0));
}

/** Without CASCADE: the source lists every table that it emptied, and others are not its business. */
function truncate({ relations, restartsIdentity }: TruncateChange, planOf: PlanOf): ApplyStatement {
  const plans = relations.map(planOf);
  const tables = plans.map(({ table }) => table).join(', ');
  const [first] = plans;
  return {
    text: `TRUNCATE ${tables}${restartsIdentity ? ' RESTART IDENTITY' : ''}`,
    values: [],
    kind: 'truncate',
    table: relations.map((relation) => quoteTable(relation)).join(', '),
    rows: 0,
    // Of several owners none may empty all of the tables.
    owner: plans.every(({ owner }) => owner === first?.owner) ? (first?.owner ?? null) : null,
  };
}
