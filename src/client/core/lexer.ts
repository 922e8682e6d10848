/** One piece of SQL text. Words are lower-cased; what stands inside strings and comments is not kept. */
export interface SqlToken {
  readonly kind: 'word' | 'quoted' | 'literal' | 'parameter' | 'symbol';
  /** The word in lower case, a quoted identifier's name, or the one character of a symbol; else empty. */
  readonly text: string;
}

export interface LexedSql {
  readonly tokens: readonly SqlToken[];
  /** The texts of block and line comments, trimmed. */
  readonly comments: readonly string[];
  /**
   * Whether the text reads the same whatever the server's settings are. A backslash before a quote ends a
   * string or does not, depending on `standard_conforming_strings`; unterminated strings are not certain.
   */
  readonly isCertain: boolean;
}

const SPACE = /\s+/y;
const LINE_COMMENT = /--([^\r\n]*)/y;
const WORD = /[A-Za-z_\u0080-\uffff][\w$\u0080-\uffff]*/y;
const NUMBER = /\d[\w.]*/y;
const PARAMETER = /\$\d+/y;
const DOLLAR_QUOTE = /\$(?:[A-Za-z_\u0080-\uffff][\w\u0080-\uffff]*)?\$/y;

/** The string prefixes of PostgreSQL: escape, bit, hex, national and Unicode strings. */
const STRING_PREFIX = new Set(['e', 'b', 'x', 'n']);

interface Scan {
  readonly sql: string;
  position: number;
  readonly tokens: SqlToken[];
  readonly comments: string[];
  isCertain: boolean;
}

/**
 * Splits SQL text into tokens the way PostgreSQL's scanner does, as far as finding statements, keywords
 * and function calls needs. Source: PostgreSQL documentation, "Lexical Structure".
 */
export function lexSql(sql: string): LexedSql {
  const scan: Scan = { sql, position: 0, tokens: [], comments: [], isCertain: true };
  while (scan.position < sql.length) scanOne(scan);
  return { tokens: scan.tokens, comments: scan.comments, isCertain: scan.isCertain };
}

function scanOne(scan: Scan): void {
  const character = scan.sql.charAt(scan.position);
  if (take(scan, SPACE) !== null) return;
  if (character === '-') {
    const comment = take(scan, LINE_COMMENT);
    if (comment !== null) return void scan.comments.push(comment.slice(2).trim());
  }
  if (character === '/' && scan.sql.charAt(scan.position + 1) === '*') return scanBlockComment(scan);
  if (character === "'") return scanString(scan, false);
  if (character === '"') return scanQuotedIdentifier(scan);
  if (character === '$' && scanDollar(scan)) return;
  const word = take(scan, WORD);
  if (word !== null) return scanWord(scan, word.toLowerCase());
  if (take(scan, NUMBER) !== null) return void scan.tokens.push({ kind: 'literal', text: '' });
  scan.tokens.push({ kind: 'symbol', text: character });
  scan.position += 1;
}

function take(scan: Scan, pattern: RegExp): string | null {
  pattern.lastIndex = scan.position;
  const match = pattern.exec(scan.sql);
  if (match === null) return null;
  scan.position += match[0].length;
  return match[0];
}

function scanWord(scan: Scan, word: string): void {
  const next = scan.sql.charAt(scan.position);
  if (next === "'" && STRING_PREFIX.has(word)) return scanString(scan, word === 'e');
  if (word === 'u' && next === '&') {
    const quote = scan.sql.charAt(scan.position + 1);
    if (quote === "'" || quote === '"') {
      scan.position += 1;
      return quote === "'" ? scanString(scan, false) : scanQuotedIdentifier(scan);
    }
  }
  scan.tokens.push({ kind: 'word', text: word });
}

function scanString(scan: Scan, hasEscapes: boolean): void {
  const { sql } = scan;
  scan.tokens.push({ kind: 'literal', text: '' });
  let at = scan.position + 1;
  while (at < sql.length) {
    const character = sql.charAt(at);
    if (character === '\\') {
      if (hasEscapes) {
        at += 2;
        continue;
      }
      if (sql.charAt(at + 1) === "'") scan.isCertain = false;
    }
    if (character === "'") {
      if (sql.charAt(at + 1) !== "'") {
        scan.position = at + 1;
        return;
      }
      at += 1;
    }
    at += 1;
  }
  endUnterminated(scan);
}

function scanQuotedIdentifier(scan: Scan): void {
  const { sql } = scan;
  let at = scan.position + 1;
  while (at < sql.length) {
    if (sql.charAt(at) === '"') {
      if (sql.charAt(at + 1) !== '"') {
        scan.tokens.push({ kind: 'quoted', text: sql.slice(scan.position + 1, at).replaceAll('""', '"') });
        scan.position = at + 1;
        return;
      }
      at += 1;
    }
    at += 1;
  }
  endUnterminated(scan);
}

/** Block comments nest in PostgreSQL. */
function scanBlockComment(scan: Scan): void {
  const { sql } = scan;
  let depth = 1;
  let at = scan.position + 2;
  while (at < sql.length && depth > 0) {
    const pair = sql.slice(at, at + 2);
    if (pair === '/*') depth += 1;
    if (pair === '*/') depth -= 1;
    at += pair === '/*' || pair === '*/' ? 2 : 1;
  }
  if (depth > 0) return endUnterminated(scan);
  scan.comments.push(sql.slice(scan.position + 2, at - 2).trim());
  scan.position = at;
}

function scanDollar(scan: Scan): boolean {
  if (take(scan, PARAMETER) !== null) {
    scan.tokens.push({ kind: 'parameter', text: '' });
    return true;
  }
  const quote = take(scan, DOLLAR_QUOTE);
  if (quote === null) return false;
  scan.tokens.push({ kind: 'literal', text: '' });
  const end = scan.sql.indexOf(quote, scan.position);
  if (end < 0) endUnterminated(scan);
  else scan.position = end + quote.length;
  return true;
}

function endUnterminated(scan: Scan): void {
  scan.isCertain = false;
  scan.position = scan.sql.length;
}
