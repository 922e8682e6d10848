import { quoteIdentifier } from '../../logical/core/quote.ts';
import { quoteShape } from './shape.ts';
import type { TableShape } from './shape.ts';

/** Rows of a table by their keys, `$1`, numbered from 1: what `t` is joined with, as `u`, and on what. */
export function numberedRows(shape: TableShape, word: 'ON' | 'WHERE' = 'ON'): string {
  const values = shape.columns.map((_, position) => `c${position}`);
  const same = shape.key.map(
    (position) => `t.${quoteIdentifier(shape.columns[position]?.name ?? '')} = u.c${position}`,
  );
  return `unnest($1::${quoteShape(shape)}[]) WITH ORDINALITY AS u(${values.join(', ')}, n) ${word} ${same.join(' AND ')}`;
}
