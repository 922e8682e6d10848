import { READ_ONLY_FUNCTIONS, SESSION_FUNCTIONS, WORDS_BEFORE_PARENTHESIS } from './functions.ts';
import { lexSql } from './lexer.ts';
import type { SqlToken } from './lexer.ts';

/**
 * What a statement does to routing. `read`: surely only reads, may go to a follower. `leader-read`: only
 * reads, but means the leader. `write`: may write, or is unknown. `session`: leaves something behind in the
 * connection. `begin`, `commit`, `rollback` delimit a transaction.
 */
export type StatementKind = 'read' | 'leader-read' | 'write' | 'session' | 'begin' | 'commit' | 'rollback';

export interface Classification {
  readonly kind: StatementKind;
  /** Why, in a few words, for people. */
  readonly reason: string;
  /** Whether the text holds exactly one statement; several can only travel by the simple protocol. */
  readonly isSingle: boolean;
  /** True for reads, and where a hint sends what is unknown to a follower. */
  readonly mayUseFollower: boolean;
}

type Verdict = Pick<Classification, 'kind' | 'reason'>;

const HINT = /^lockstep:\s*(leader|follower)$/i;
const MODIFYING_WORDS = new Set(['insert', 'update', 'delete', 'merge', 'into', 'truncate']);
const LOCKING_STRENGTHS = new Set(['update', 'share', 'no', 'key']);

/**
 * Decides where a statement may run. It says `read` only when the text is one SELECT, WITH, VALUES or TABLE
 * whose every word is known to be harmless; everything it does not know goes to the leader. A comment
 * `lockstep: leader` or `lockstep: follower` in the text moves what is otherwise undecided: a hint never
 * sends to a follower what surely writes or what would silently take effect in the wrong place.
 */
export function classify(sql: string): Classification {
  const { tokens, comments, isCertain } = lexSql(sql);
  const statements = splitStatements(tokens);
  const first = statements[0];
  if (first === undefined) return onLeader('leader-read', 'empty', isCertain);
  if (!isCertain) return onLeader('write', 'ambiguous quoting', false);
  if (statements.length > 1) return classifyMany(statements);
  return applyHint(classifyOne(first), findHint(comments), first);
}

function onLeader(kind: StatementKind, reason: string, isSingle: boolean): Classification {
  return { kind, reason, isSingle, mayUseFollower: false };
}

function splitStatements(tokens: readonly SqlToken[]): SqlToken[][] {
  const statements: SqlToken[][] = [];
  let current: SqlToken[] = [];
  for (const token of tokens) {
    if (token.kind === 'symbol' && token.text === ';') {
      if (current.length > 0) statements.push(current);
      current = [];
    } else current.push(token);
  }
  if (current.length > 0) statements.push(current);
  return statements;
}

function classifyMany(statements: readonly SqlToken[][]): Classification {
  const leavesState = statements.some((statement) => classifyOne(statement).kind === 'session');
  return onLeader(leavesState ? 'session' : 'write', 'several statements', false);
}

function findHint(comments: readonly string[]): 'leader' | 'follower' | null {
  for (const comment of comments) {
    const match = HINT.exec(comment);
    if (match?.[1] !== undefined) return match[1].toLowerCase() === 'leader' ? 'leader' : 'follower';
  }
  return null;
}

function applyHint(
  { kind, reason }: Verdict,
  hint: 'leader' | 'follower' | null,
  tokens: readonly SqlToken[],
): Classification {
  if (kind === 'read') {
    return hint === 'leader'
      ? onLeader('leader-read', 'hint', true)
      : { kind, reason, isSingle: true, mayUseFollower: true };
  }
  const isQuery = startsQuery(wordAt(tokens, firstWordIndex(tokens)));
  // It stays a write: when no follower can take it the leader does, where it must not run twice.
  const mayUseFollower = hint === 'follower' && isQuery && isUndecided({ kind, reason });
  return { kind, reason, isSingle: true, mayUseFollower };
}

/** Whether nothing speaks against a follower but a function that the classifier does not know. */
export function isUndecided({ kind, reason }: Pick<Classification, 'kind' | 'reason'>): boolean {
  return kind === 'write' && reason.startsWith('unknown function');
}

/** `(SELECT …) UNION …` starts with parentheses. */
function firstWordIndex(tokens: readonly SqlToken[]): number {
  let index = 0;
  while (tokens[index]?.kind === 'symbol' && tokens[index]?.text === '(') index += 1;
  return index;
}

function wordAt(tokens: readonly SqlToken[], index: number): string {
  const token = tokens[index];
  return token?.kind === 'word' ? token.text : '';
}

function startsQuery(word: string): boolean {
  return word === 'select' || word === 'with' || word === 'values' || word === 'table';
}

function classifyOne(tokens: readonly SqlToken[]): Verdict {
  const start = firstWordIndex(tokens);
  const word = wordAt(tokens, start);
  if (startsQuery(word)) return classifyQuery(tokens);
  const next = wordAt(tokens, start + 1);
  switch (word) {
    case 'show':
      return { kind: 'leader-read', reason: 'SHOW' };
    case 'begin':
      return { kind: 'begin', reason: 'transaction' };
    case 'start':
      return { kind: next === 'transaction' ? 'begin' : 'write', reason: 'transaction' };
    case 'commit':
    case 'end':
      return { kind: next === 'prepared' ? 'write' : 'commit', reason: 'transaction' };
    case 'rollback':
    case 'abort':
      return {
        kind: next === 'prepared' || hasWord(tokens, 'to') ? 'write' : 'rollback',
        reason: 'transaction',
      };
    case 'set':
      return classifySet(next);
    case 'reset':
    case 'discard':
    case 'listen':
    case 'unlisten':
    case 'deallocate':
    case 'load':
      return { kind: 'session', reason: word.toUpperCase() };
    case 'prepare':
      return { kind: next === 'transaction' ? 'write' : 'session', reason: 'PREPARE' };
    case 'declare':
      return { kind: hasWord(tokens, 'hold') ? 'session' : 'write', reason: 'cursor' };
    case 'create':
      return hasWord(tokens.slice(0, start + 5), 'temp') || hasWord(tokens.slice(0, start + 5), 'temporary')
        ? { kind: 'session', reason: 'temporary object' }
        : { kind: 'write', reason: 'CREATE' };
    default:
      return { kind: 'write', reason: word === '' ? 'unknown statement' : word.toUpperCase() };
  }
}

function classifySet(next: string): Verdict {
  const isLocal = next === 'local' || next === 'transaction' || next === 'constraints';
  return { kind: isLocal ? 'leader-read' : 'session', reason: 'SET' };
}

function hasWord(tokens: readonly SqlToken[], word: string): boolean {
  return tokens.some((token) => token.kind === 'word' && token.text === word);
}

function classifyQuery(tokens: readonly SqlToken[]): Verdict {
  let verdict: Verdict = { kind: 'read', reason: 'read only' };
  for (const [index, token] of tokens.entries()) {
    const found = judgeToken(tokens, index, token);
    if (found === null) continue;
    if (found.kind === 'session') return found;
    // A surely modifying word outweighs a merely unknown function.
    if (verdict.kind === 'read' || isUndecided(verdict)) verdict = found;
  }
  return verdict;
}

function judgeToken(tokens: readonly SqlToken[], index: number, token: SqlToken): Verdict | null {
  const isCall = isSymbol(tokens[index + 1], '(');
  if (token.kind === 'quoted') return isCall ? judgeCall(tokens, index, token) : judgeName(token.text);
  if (token.kind !== 'word') return null;
  if (MODIFYING_WORDS.has(token.text)) return { kind: 'write', reason: token.text.toUpperCase() };
  if (token.text === 'for' && LOCKING_STRENGTHS.has(wordAt(tokens, index + 1))) {
    return { kind: 'write', reason: 'row locks' };
  }
  return isCall ? judgeCall(tokens, index, token) : judgeName(token.text);
}

function isSymbol(token: SqlToken | undefined, text: string): boolean {
  return token?.kind === 'symbol' && token.text === text;
}

/**
 * Views such as pg_stat_activity, pg_locks and pg_settings describe the server that answers, so on a
 * follower they would silently describe the wrong one; catalogs are rarely worth a follower.
 */
function judgeName(name: string): Verdict | null {
  return name.startsWith('pg_') && name !== 'pg_catalog'
    ? { kind: 'write', reason: `server-specific ${name}` }
    : null;
}

function judgeCall(tokens: readonly SqlToken[], index: number, token: SqlToken): Verdict | null {
  const name = token.text;
  if (SESSION_FUNCTIONS.has(name)) return { kind: 'session', reason: `${name}()` };
  const before = wordAt(tokens, index - 1);
  // After AS, WITH or RECURSIVE stands an alias with a column list, which calls nothing.
  if (before === 'as' || before === 'with' || before === 'recursive') return null;
  if (token.kind === 'word' && !isSymbol(tokens[index - 1], '.')) {
    if (WORDS_BEFORE_PARENTHESIS.has(name) || READ_ONLY_FUNCTIONS.has(name)) return null;
  }
  const isCatalogCall = isSymbol(tokens[index - 1], '.') && wordAt(tokens, index - 2) === 'pg_catalog';
  if (token.kind === 'word' && isCatalogCall && READ_ONLY_FUNCTIONS.has(name)) return null;
  const silent = isSilentInTheWrongPlace(name);
  return { kind: 'write', reason: silent ? `server-specific ${name}()` : `unknown function ${name}()` };
}

/** Functions that a follower executes without complaint, though the caller means the leader. */
function isSilentInTheWrongPlace(name: string): boolean {
  return (
    name.startsWith('pg_') || name.startsWith('dblink') || name.startsWith('txid_') || name.startsWith('lo_')
  );
}
