import { quoteIdentifier } from '../../core/quote.ts';
import type { ApplyStatement } from './compile.ts';

/**
 * Has each statement run with the rights that it names: where the follow's role is a superuser, those of the table's
 * owner, so that the code of a table (triggers, checks, expressions) never runs with more. `before` is the role in
 * force; that of the last statement stays in force to the transaction's end, for deferred triggers.
 */
export function withOwners(
  statements: readonly ApplyStatement[],
  before: string | null = null,
): readonly ApplyStatement[] {
  if (before === null && statements.every(({ owner }) => owner === null)) return statements;
  let current = before;
  return statements.flatMap((statement) => {
    if (statement.owner === current) return [statement];
    current = statement.owner;
    return [roleStatement(current), statement];
  });
}

/** Of the transaction, up to its end. */
export function roleStatement(owner: string | null): ApplyStatement {
  return {
    text: `SET LOCAL ROLE ${owner === null ? 'NONE' : quoteIdentifier(owner)}`,
    values: [],
    kind: 'role',
    table: '',
    rows: 0,
    owner,
  };
}
