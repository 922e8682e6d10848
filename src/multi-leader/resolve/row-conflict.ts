import type { TableRules } from '../column-rules.ts';

/** A row type of Kysely's names what is read of a column that has another type when it is written. */
export type SelectedRow<Row> = {
  [Column in keyof Row]: Row[Column] extends { readonly __select__: infer Value } ? Value : Row[Column];
};

/**
 * Two writes of a row of which the later one's writer had not seen the earlier one. `a` is the earlier by version and `b`
 * the later, in every region alike, whoever asks; null is no row. Values are as node-postgres gives them.
 */
export interface RowConflict<Row = Readonly<Record<string, unknown>>> {
  readonly table: string;
  /** What each did, the earlier one first: `update/update`, `insert/insert`, `update/delete`, `delete/update` … */
  readonly kind: string;
  /** The row as the writer of `b` saw it. */
  readonly base: Row | null;
  readonly a: Row | null;
  readonly b: Row | null;
  /** This row, or none. Columns with a rule of their own, such as a counter, stay what that makes of them. */
  keep(row: Row | null): RowDecision<Row>;
  /** What the columns' rules make of both, with these columns instead. */
  merge(columns?: Partial<Row>): RowDecision<Row>;
  /** As the columns' rules have it, until a person decides: the log of conflicts has both, as `parked`. */
  park(reason?: string): RowDecision<Row>;
}

/** What a resolver returns: what one of its argument's functions gave. */
export type RowDecision<Row = Readonly<Record<string, unknown>>> =
  | { readonly kind: 'keep'; readonly row: Row | null }
  | { readonly kind: 'merge'; readonly columns: Partial<Row> }
  | { readonly kind: 'park'; readonly reason: string };

/** A table whose conflicts a function of the app's decides. */
export interface TableResolver<Row = Readonly<Record<string, unknown>>> {
  // As a method: one for rows of a type is taken where any row is.
  resolve(conflict: RowConflict<Row>): RowDecision<Row>;
  readonly columns: TableRules<Row>;
}

/**
 * Decides a table's conflicts by a function. It must be pure: it sees two rows and nothing else, returns at once, and gives
 * the same answer for the same rows. One that throws, takes longer than 2 s, or does not keep to that has its conflict parked.
 * `columns`: rules for columns, of what it need not decide.
 */
export function resolve<Row = Readonly<Record<string, unknown>>>(
  decide: (conflict: RowConflict<SelectedRow<Row>>) => RowDecision<SelectedRow<Row>>,
  columns: TableRules<Row> = {},
): TableResolver<Row> {
  return { resolve: decide as TableResolver<Row>['resolve'], columns };
}
