import { lexSql } from '../../classify/core/lexer.ts';
import type { SqlToken } from '../../classify/core/lexer.ts';

const MAX_CHARACTERS = 300;

const NO_SPACE_BEFORE = new Set([',', ')', ';', '.', ':', ']', '[', '(']);
const NO_SPACE_AFTER = new Set(['(', '.', ':', '[']);

/**
 * A statement's text for logs: without comments, with `?` in place of every literal, since a literal may be a
 * password or a customer's name, and cut where it gets long. Of a text whose quotes can be read in two ways,
 * only the first word.
 */
export function fingerprint(sql: string): string {
  // What is cut off is not looked at: a bulk insert has megabytes of it.
  const isLong = sql.length > 4 * MAX_CHARACTERS;
  const { tokens, isCertain } = lexSql(isLong ? sql.slice(0, 4 * MAX_CHARACTERS) : sql);
  if (!isCertain && !isLong) return `${tokens[0]?.kind === 'word' ? tokens[0].text.toUpperCase() : '?'} …`;
  let text = '';
  let before: SqlToken | undefined;
  for (const token of tokens) {
    const isRepeated = token.kind === 'literal' && before?.kind === 'literal';
    if (!isRepeated) {
      const isTight =
        (token.kind === 'symbol' && NO_SPACE_BEFORE.has(token.text)) ||
        (before?.kind === 'symbol' && NO_SPACE_AFTER.has(before.text));
      text += `${text === '' || isTight ? '' : ' '}${render(token)}`;
    }
    before = token;
    if (text.length > MAX_CHARACTERS) return `${text.slice(0, MAX_CHARACTERS)} …`;
  }
  return isLong ? `${text} …` : text;
}

function render({ kind, text }: SqlToken): string {
  if (kind === 'literal') return '?';
  if (kind === 'parameter') return '$';
  return kind === 'quoted' ? `"${text}"` : text;
}
