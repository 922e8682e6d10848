import { cutText, textWidth, toPlainText } from './text-width.ts';

/** How a piece of text looks in a terminal with colours. */
export type Style = 'plain' | 'bold' | 'dim' | 'good' | 'warn' | 'bad' | 'lead' | 'sync' | 'async';

/** A piece of a line; its text never contains escape sequences. */
export interface Span {
  readonly text: string;
  readonly style: Style;
}

// SGR parameters. Source: ECMA-48, section 8.3.117.
const SGR: Readonly<Record<Style, string>> = {
  plain: '',
  bold: '1',
  dim: '2',
  good: '32',
  warn: '33',
  bad: '1;31',
  lead: '1;35',
  sync: '32',
  async: '36',
};

/** A span of plain text; whatever could move the cursor is taken out. */
export function span(text: string, style: Style = 'plain'): Span {
  return { text: toPlainText(text), style };
}

/** Columns that the spans take together. */
export function spansWidth(spans: readonly Span[]): number {
  return spans.reduce((width, one) => width + textWidth(one.text), 0);
}

/** One line, cut with `…` where it would be wider than `columns`; without escape sequences when not `color`. */
export function renderLine(spans: readonly Span[], columns: number, color: boolean): string {
  let left = columns;
  let line = '';
  for (const [index, one] of spans.entries()) {
    if (left <= 0) break;
    const hasMore = spans.slice(index + 1).some((later) => later.text.trim() !== '');
    const fits = textWidth(one.text) < left || (textWidth(one.text) === left && !hasMore);
    const text = fits ? one.text : cutText(`${one.text} `, left);
    left -= textWidth(text);
    line += color && SGR[one.style] !== '' ? `\u001b[${SGR[one.style]}m${text}\u001b[0m` : text;
    if (!fits) break;
  }
  return color ? line : line.trimEnd();
}

/** Two groups on one line, the second at the right edge; the second is left out where it does not fit. */
export function spreadLine(left: readonly Span[], right: readonly Span[], columns: number): readonly Span[] {
  const gap = columns - spansWidth(left) - spansWidth(right);
  return gap < 2 ? left : [...left, span(' '.repeat(gap)), ...right];
}
