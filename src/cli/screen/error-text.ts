import { LockstepError } from '../../model/errors.ts';
import { toPlainText } from './text-width.ts';

/**
 * What a command says of its failure: an error of ours is one sentence with its remedy, anything else is a bug and shows where.
 * PostgreSQL's words may be anybody's: in them a newline would begin a line that looks like one of ours.
 */
export function renderError(error: unknown): string {
  if (error instanceof LockstepError) return `lockstep: ${toPlainText(error.message)}`;
  const stack = error instanceof Error ? (error.stack ?? '') : '';
  const places = stack.split('\n').filter((line) => /^ {4}at /.test(line));
  return [`lockstep: ${toPlainText(String(error))}`, ...places.map(toPlainText)].join('\n');
}
