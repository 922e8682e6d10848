import { isSameImage } from './image.ts';
import type { Image } from './image.ts';
import { applyOperation, hadSeen, nameConflict } from './merge.ts';
import type { ColumnRule, Operation } from './merge.ts';
import type { Version } from './version.ts';

/** Two states of a row of which neither knew the other, the earlier one first: what a table's resolver is asked about. */
export interface Question {
  /** What each did, the earlier one first, such as `update/delete`. */
  readonly kind: string;
  /** The row as the later writer saw it. */
  readonly base: Image | null;
  readonly a: Image | null;
  readonly b: Image | null;
  /** What the columns' rules make of both. */
  readonly merged: Image | null;
}

/** Parked is left as the columns' rules have it, for a person to decide. */
export type Answer =
  | { readonly kind: 'row'; readonly row: Image | null }
  /** A fault is the resolver's, and not its decision. */
  | { readonly kind: 'parked'; readonly reason: string; readonly isFault: boolean };

/** A question that was answered, and what became of it. */
export interface Answered {
  readonly question: Question;
  readonly answer: Answer;
  /** Of the write before; null where it is not known any more. */
  readonly earlier: Version | null;
  /** Null where the later one is what stands in the row now, of which not all is settled. */
  readonly later: Version | null;
  readonly result: Image | null;
}

/** What a row is to be once its conflicts are resolved. */
export interface ResolvedRow {
  readonly wanted: Image | null;
  readonly answered: readonly Answered[];
}

/**
 * Goes through a row's settled operations in the order of their versions, and asks about each whose writer had not seen the
 * one before: one answer is the earlier state for the next question, so that nothing that was kept once gets lost to a
 * later one. What stands in the row now, where writes came meanwhile, is one more later state.
 */
export function* resolveRow(
  base: Image | null,
  operations: readonly Operation[],
  rules: readonly ColumnRule[],
  here: Image | null,
): Generator<Question, ResolvedRow, Answer> {
  const answered: Answered[] = [];
  let [settled, decided] = [base, base];
  let previous: Version | null = null;
  const ask = function* (operation: Operation, isHere: boolean): Generator<Question, Image | null, Answer> {
    const { old, row } = operation;
    const merged = applyOperation(decided, operation, rules);
    const kind = nameConflict(operation, decided);
    const question: Question = { kind, base: old, a: decided, b: row, merged };
    const answer = yield question;
    const result = resultOf(question, answer, rules);
    const later = isHere ? null : operation.version;
    answered.push({ question, answer, earlier: previous, later, result });
    return result;
  };
  for (const operation of operations) {
    // Who has seen the last writes has not seen what is decided otherwise only now.
    const isKnown = hadSeen(operation, decided, rules) || isSameImage(operation.row, decided);
    decided = isKnown ? applyOperation(decided, operation, rules) : yield* ask(operation, false);
    settled = applyOperation(settled, operation, rules);
    previous = operation.version;
  }
  if (isSameImage(decided, settled)) return { wanted: here, answered };
  if (isSameImage(here, settled) || isSameImage(here, decided))
    return { wanted: withColumnsOf(here, decided, rules), answered };
  const now: Operation = { version: { timeUs: 0, region: 0, lsn: 0n }, old: settled, row: here };
  const wanted = yield* ask(now, true);
  const isParked = answered.at(-1)?.answer.kind === 'parked';
  return { wanted: isParked ? here : withColumnsOf(here, wanted, rules), answered };
}

/** What an answer makes of a question's row. */
export function resultOf({ merged }: Question, answer: Answer, rules: readonly ColumnRule[]): Image | null {
  return answer.kind === 'parked' ? merged : withColumnsOf(merged, answer.row, rules);
}

/** Columns with a rule of their own stay what that makes of them: an answer would lose differences. */
function withColumnsOf(merged: Image | null, row: Image | null, rules: readonly ColumnRule[]): Image | null {
  if (row === null || merged === null) return row;
  return row.map((value, column) =>
    (rules[column] ?? 'last') === 'last' ? value : (merged[column] ?? null),
  );
}
