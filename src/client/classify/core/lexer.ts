/** One piece of SQL text. Words are in lower case; what stands inside strings and comments is not kept. */
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
   * Whether the text reads the same whatever the server's version and settings are. A backslash before a
   * quote ends a string or does not, depending on `standard_conforming_strings`; before PostgreSQL 15, `1for`
   * was two words. Unterminated strings, escaped identifiers and zero bytes are not certain either.
   */
  readonly isCertain: boolean;
}

const NUMBER = /0(?:[xX][\da-fA-F_]+|[oO][0-7_]+|[bB][01_]+)|\d[\d_]*(?:\.[\d_]*)?(?:[eE][+-]?\d[\d_]*)?/y;
const PARAMETER = /\$\d+/y;
const DOLLAR_QUOTE = /\$(?:[A-Za-z_\u0080-\uffff][\w\u0080-\uffff]*)?\$/y;
const LINE_END = /[\r\n]/g;
const COMMENT_EDGE = /\/\*|\*\//g;
const NON_ASCII = /[\u0080-\uffff]/;

/** The string prefixes of PostgreSQL: escape, bit, hex, national and Unicode strings. */
const STRING_PREFIX = new Set(['e', 'b', 'x', 'n']);

const LITERAL: SqlToken = { kind: 'literal', text: '' };
const PARAMETER_TOKEN: SqlToken = { kind: 'parameter', text: '' };

/** A token for each ASCII character, made once: bulk inserts have hundreds of thousands of them. */
const SYMBOLS: readonly SqlToken[] = Array.from({ length: 128 }, (_, code) => ({
  kind: 'symbol',
  text: String.fromCodePoint(code),
}));

const QUOTE = "'".charCodeAt(0);
const DOUBLE_QUOTE = '"'.charCodeAt(0);
const BACKSLASH = '\\'.charCodeAt(0);
const DASH = '-'.charCodeAt(0);
const SLASH = '/'.charCodeAt(0);
const STAR = '*'.charCodeAt(0);
const DOLLAR = '$'.charCodeAt(0);
const AMPERSAND = '&'.charCodeAt(0);
const UNDERSCORE = '_'.charCodeAt(0);

interface Scan {
  readonly sql: string;
  position: number;
  readonly tokens: SqlToken[];
  readonly comments: string[];
  isCertain: boolean;
}

/**
 * Splits SQL text into tokens the way PostgreSQL's scanner does, as far as finding statements, keywords
 * and function calls needs, in linear time. Source: PostgreSQL documentation, "Lexical Structure", and
 * `scan.l`.
 */
export function lexSql(sql: string): LexedSql {
  const scan: Scan = { sql, position: 0, tokens: [], comments: [], isCertain: !sql.includes('\0') };
  while (scan.position < sql.length) scanOne(scan, sql.charCodeAt(scan.position));
  return { tokens: scan.tokens, comments: scan.comments, isCertain: scan.isCertain };
}

function scanOne(scan: Scan, code: number): void {
  if (isSpace(code)) return void (scan.position += 1);
  if (isWordStart(code)) return scanWord(scan);
  if (isDigit(code)) return scanNumber(scan, NUMBER, LITERAL);
  const next = scan.sql.charCodeAt(scan.position + 1);
  if (code === QUOTE) return scanString(scan);
  if (code === DOUBLE_QUOTE) return scanQuotedIdentifier(scan);
  if (code === DASH && next === DASH) return scanLineComment(scan);
  if (code === SLASH && next === STAR) return scanBlockComment(scan);
  if (code === DOLLAR && isDigit(next)) return scanNumber(scan, PARAMETER, PARAMETER_TOKEN);
  if (code === DOLLAR && scanDollarQuote(scan)) return;
  scan.tokens.push(SYMBOLS[code] ?? LITERAL);
  scan.position += 1;
}

/** PostgreSQL's own white space: a no-break space or a byte order mark is a letter to it. */
function isSpace(code: number): boolean {
  return code === 32 || (code >= 9 && code <= 13);
}

function isWordStart(code: number): boolean {
  const folded = code | 32;
  return (folded >= 97 && folded <= 122) || code === UNDERSCORE || code >= 128;
}

function isDigit(code: number): boolean {
  return code >= 48 && code <= 57;
}

function scanWord(scan: Scan): void {
  const { sql } = scan;
  let end = scan.position + 1;
  for (; end < sql.length; end += 1) {
    const code = sql.charCodeAt(end);
    if (!isWordStart(code) && !isDigit(code) && code !== DOLLAR) break;
  }
  const word = lowerCase(sql.slice(scan.position, end));
  scan.position = end;
  const next = sql.charCodeAt(end);
  if (next === QUOTE && STRING_PREFIX.has(word))
    return word === 'e' ? scanEscapeString(scan) : scanString(scan);
  if (next === AMPERSAND && word === 'u') {
    const quote = sql.charCodeAt(end + 1);
    if (quote === QUOTE || quote === DOUBLE_QUOTE) scan.position += 1;
    if (quote === QUOTE) return scanString(scan);
    if (quote === DOUBLE_QUOTE) {
      // Its escapes may spell any name, and UESCAPE may change what an escape is.
      scan.isCertain = false;
      return scanQuotedIdentifier(scan);
    }
  }
  scan.tokens.push({ kind: 'word', text: word });
}

/** Only ASCII letters fold, as in PostgreSQL: the Kelvin sign is no k. */
function lowerCase(word: string): string {
  return NON_ASCII.test(word)
    ? word.replaceAll(/[A-Z]+/g, (letters) => letters.toLowerCase())
    : word.toLowerCase();
}

function scanNumber(scan: Scan, pattern: RegExp, token: SqlToken): void {
  pattern.lastIndex = scan.position;
  scan.position += pattern.exec(scan.sql)?.[0].length ?? 1;
  if (isWordStart(scan.sql.charCodeAt(scan.position))) scan.isCertain = false;
  scan.tokens.push(token);
}

/** A doubled quote is scanned as the end of one string and the start of the next, which comes to the same. */
function scanString(scan: Scan): void {
  const end = scan.sql.indexOf("'", scan.position + 1);
  if (end < 0) return endUnterminated(scan);
  if (scan.sql.charCodeAt(end - 1) === BACKSLASH) scan.isCertain = false;
  scan.tokens.push(LITERAL);
  scan.position = end + 1;
}

function scanEscapeString(scan: Scan): void {
  const { sql } = scan;
  for (let at = scan.position + 1; at < sql.length; at += 1) {
    const code = sql.charCodeAt(at);
    if (code === BACKSLASH) at += 1;
    else if (code === QUOTE) {
      if (sql.charCodeAt(at + 1) === QUOTE) at += 1;
      else {
        scan.tokens.push(LITERAL);
        scan.position = at + 1;
        return;
      }
    }
  }
  endUnterminated(scan);
}

function scanQuotedIdentifier(scan: Scan): void {
  const { sql } = scan;
  let end = sql.indexOf('"', scan.position + 1);
  while (end >= 0 && sql.charCodeAt(end + 1) === DOUBLE_QUOTE) end = sql.indexOf('"', end + 2);
  if (end < 0) return endUnterminated(scan);
  scan.tokens.push({ kind: 'quoted', text: sql.slice(scan.position + 1, end).replaceAll('""', '"') });
  scan.position = end + 1;
}

function scanLineComment(scan: Scan): void {
  LINE_END.lastIndex = scan.position;
  const end = LINE_END.exec(scan.sql)?.index ?? scan.sql.length;
  scan.comments.push(scan.sql.slice(scan.position + 2, end).trim());
  scan.position = end;
}

/** Block comments nest in PostgreSQL. */
function scanBlockComment(scan: Scan): void {
  COMMENT_EDGE.lastIndex = scan.position + 2;
  let depth = 1;
  while (depth > 0) {
    const edge = COMMENT_EDGE.exec(scan.sql);
    if (edge === null) return endUnterminated(scan);
    depth += edge[0] === '/*' ? 1 : -1;
  }
  const end = COMMENT_EDGE.lastIndex;
  scan.comments.push(scan.sql.slice(scan.position + 2, end - 2).trim());
  scan.position = end;
}

function scanDollarQuote(scan: Scan): boolean {
  DOLLAR_QUOTE.lastIndex = scan.position;
  const quote = DOLLAR_QUOTE.exec(scan.sql)?.[0];
  if (quote === undefined) return false;
  const end = scan.sql.indexOf(quote, scan.position + quote.length);
  if (end < 0) endUnterminated(scan);
  else {
    scan.tokens.push(LITERAL);
    scan.position = end + quote.length;
  }
  return true;
}

function endUnterminated(scan: Scan): void {
  scan.isCertain = false;
  scan.position = scan.sql.length;
}
