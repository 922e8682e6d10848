import { addDifference, compareDecimals } from './decimal.ts';
import { formatArray, isSameImage, parseArray } from './image.ts';
import type { Image } from './image.ts';
import { compareVersions } from './version.ts';
import type { Version } from './version.ts';

/** How the values of a column that several regions changed become one. */
export type ColumnRule = 'last' | 'counter' | 'set' | 'max' | 'min' | 'escrow';

/** What one transaction of a region did to a row, with the row before and after it. */
export interface Operation {
  readonly version: Version;
  /** Null of an insert. */
  readonly old: Image | null;
  /** Null of a delete. */
  readonly row: Image | null;
}

/**
 * What an operation makes of a row, whatever the row is: an insert sets everything, a delete removes it, an update
 * changes the columns that its writer changed, and adds differences to counters. An update of a row that is gone brings
 * it back as its writer saw it.
 */
export function applyOperation(
  state: Image | null,
  { old, row }: Operation,
  rules: readonly ColumnRule[],
): Image | null {
  if (row === null || old === null || state === null) return row;
  return state.map((value, column) => {
    const [from = null, to = null] = [old[column], row[column]];
    return from === to ? value : mergeValue(rules[column] ?? 'last', value, from, to);
  });
}

/** All operations in the order of their versions, from what was there before the first of them. */
export function replay(
  base: Image | null,
  operations: readonly Operation[],
  rules: readonly ColumnRule[],
): Image | null {
  return operations.reduce((state: Image | null, operation) => applyOperation(state, operation, rules), base);
}

function mergeValue(
  rule: ColumnRule,
  value: string | null,
  from: string | null,
  to: string | null,
): string | null {
  if (rule === 'last' || value === null || to === null) return to;
  if (rule === 'set') return mergeSets(value, from, to);
  if (rule === 'counter') return from === null ? to : (addDifference(value, from, to) ?? to);
  const order = compareDecimals(value, to);
  if (order === null) return to;
  return (rule === 'max' ? order < 0 : order > 0) ? to : value;
}

/** Takes out what the writer took out, and adds what it added. */
function mergeSets(value: string, from: string | null, to: string): string {
  const [here, before, after] = [parseArray(value), from === null ? [] : parseArray(from), parseArray(to)];
  const removed = new Set(before.filter((one) => !after.includes(one)));
  const kept = here.filter((one) => !removed.has(one));
  return formatArray([...kept, ...after.filter((one) => !before.includes(one) && !kept.includes(one))]);
}

/** In the order of versions, one a version: what was delivered twice counts once. */
export function orderOperations(operations: readonly Operation[]): Operation[] {
  const sorted = operations.toSorted((a, b) => compareVersions(a.version, b.version));
  return sorted.filter((operation, index) => {
    const before = sorted[index - 1];
    return before === undefined || compareVersions(before.version, operation.version) !== 0;
  });
}

/** Makes one operation of what a transaction did to a row one after the other; null when it comes to nothing. */
export function composeOperations(operations: readonly Operation[]): Operation | null {
  const [first] = operations;
  const last = operations.at(-1);
  if (first === undefined || last === undefined) return null;
  if (first.old === null && last.row === null) return null;
  return { version: last.version, old: first.old, row: last.row };
}

/** A write whose writer had not seen the one before it, in the order of versions. */
export interface Conflict {
  /** Null where the write before was settled already, and its version is not known any more. */
  readonly earlier: Version | null;
  readonly later: Version;
  /** What each did, the earlier one first, such as `update/delete`. */
  readonly kind: string;
  /** Whether both are in the result, or columns of the earlier one were lost. */
  readonly decision: 'merged' | 'later-wins' | 'same';
  /** The row before the later write, as the later writer saw it, as it wrote it, and as it is now. */
  readonly before: Image | null;
  readonly seen: Image | null;
  readonly written: Image | null;
  readonly result: Image | null;
}

/**
 * The conflicts among a row's operations, which must be complete up to the last of them: then every region finds the same
 * ones. Counters and sets are what they are for, and not told of.
 */
export function findConflicts(
  base: Image | null,
  operations: readonly Operation[],
  rules: readonly ColumnRule[],
): Conflict[] {
  const conflicts: Conflict[] = [];
  let before = base;
  let previous: Operation | null = null;
  for (const operation of operations) {
    const result = applyOperation(before, operation, rules);
    if (!hadSeen(operation, before, rules)) {
      conflicts.push({
        earlier: previous?.version ?? null,
        later: operation.version,
        kind: nameConflict(operation, before),
        decision: decisionOf(before, operation, result),
        before,
        seen: operation.old,
        written: operation.row,
        result,
      });
    }
    before = result;
    previous = operation;
  }
  return conflicts;
}

/** Whether an operation's writer saw what the writes before it have left, but for what counters and sets are for. */
export function hadSeen({ old }: Operation, before: Image | null, rules: readonly ColumnRule[]): boolean {
  if (old === null || before === null) return old === before;
  return old.every((value, column) => value === before[column] || (rules[column] ?? 'last') !== 'last');
}

/** What the writes before an operation did to the row that its writer saw, and what it did. */
export function nameConflict({ old, row }: Operation, before: Image | null): string {
  return `${nameOf(old, before)}/${nameOf(old, row)}`;
}

function nameOf(from: Image | null, to: Image | null): string {
  if (to === null) return 'delete';
  return from === null ? 'insert' : 'update';
}

function decisionOf(
  before: Image | null,
  { row, old }: Operation,
  result: Image | null,
): Conflict['decision'] {
  if (isSameImage(row, before)) return 'same';
  if (before === null || row === null || old === null || result === null) return 'later-wins';
  const isLost = before.some(
    (value, column) => value !== old[column] && value !== result[column] && old[column] !== row[column],
  );
  return isLost ? 'later-wins' : 'merged';
}

/** What is left of a row's journal once everything below a time is known. */
export interface SettledJournal {
  readonly base: Image | null;
  readonly rest: readonly Operation[];
  readonly conflicts: readonly Conflict[];
}

/** Folds the operations below `lowestUs`, of which none can come any more, into the base. */
export function settleJournal(
  base: Image | null,
  operations: readonly Operation[],
  lowestUs: number,
  rules: readonly ColumnRule[],
): SettledJournal {
  const settled = operations.filter(({ version }) => version.timeUs < lowestUs);
  return {
    base: replay(base, settled, rules),
    rest: operations.filter(({ version }) => version.timeUs >= lowestUs),
    conflicts: findConflicts(base, settled, rules),
  };
}
