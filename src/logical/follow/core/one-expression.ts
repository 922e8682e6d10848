const OPENING = '([';
const CLOSING = ')]';

/**
 * Whether a text that another server gave, put in parentheses, can be nothing but one expression within them: it closes
 * what it opens and nothing else, and holds no comment, no dollar quote and no end of a statement, none of which stand in
 * what PostgreSQL writes of an expression. Where standard_conforming_strings is on. Source: PostgreSQL documentation,
 * "Lexical Structure".
 */
export function isOneExpression(text: string): boolean {
  const open: string[] = [];
  for (let at = 0; at < text.length; at++) {
    const one = text.charAt(at);
    const two = text.slice(at, at + 2);
    if (two === '--' || two === '/*' || one === ';' || one === '$' || one === '\0') return false;
    if (one === "'" || one === '"') {
      at = endOfQuoted(text, at);
      if (at === -1) return false;
    } else if (OPENING.includes(one)) open.push(one);
    else if (CLOSING.includes(one) && open.pop() !== OPENING[CLOSING.indexOf(one)]) return false;
  }
  return open.length === 0 && text.trim() !== '';
}

/** What PostgreSQL writes before a quote: nothing that has a backslash mean more than itself. */
const BEFORE_QUOTED = /(?:^|[^\p{L}\p{N}_$&"'])B?$/u;

/** Where what is quoted ends, with standard_conforming_strings; -1 when it does not. */
function endOfQuoted(text: string, start: number): number {
  if (!BEFORE_QUOTED.test(text.slice(Math.max(0, start - 2), start))) return -1;
  const quote = text.charAt(start);
  for (let at = start + 1; at < text.length; at++) {
    if (text.charAt(at) !== quote) continue;
    if (text.charAt(at + 1) !== quote) return at;
    at++;
  }
  return -1;
}
