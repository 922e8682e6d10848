import { NOTHING_KNOWN } from './catalog-names.ts';
import type { CatalogNames } from './catalog-names.ts';
import { SESSION_FUNCTIONS, WORDS_BEFORE_PARENTHESIS } from './functions.ts';
import {
  graver,
  isUndecided,
  judgeCommand,
  judgeFunction,
  judgeName,
  leavesState,
  READS_ONLY,
  ROW_LOCKS,
  TEMPORARY_OBJECT,
} from './judge.ts';
import type { StatementForm, StatementKind, Verdict } from './judge.ts';
import { lexSql } from './lexer.ts';
import type { SqlToken } from './lexer.ts';

export { isUndecided } from './judge.ts';
export type { StatementKind } from './judge.ts';

export interface Classification extends Verdict {
  /** Whether the text holds exactly one statement; several can only travel by the simple protocol. */
  readonly isSingle: boolean;
  /** True for reads, and where a hint sends what is unknown to a follower. */
  readonly mayUseFollower: boolean;
}

export type Hint = 'leader' | 'follower' | null;

/** A classification, and what else the text tells to whoever keeps it. */
export interface Analysis {
  readonly classification: Classification;
  /** Whether it is a query of which PostgreSQL's grammar might find that it only reads: see {@link applyHint}. */
  readonly isDoubtful: boolean;
  readonly hint: Hint;
  /** Whether it may change functions, views or what else {@link CatalogNames} tells. */
  readonly changesCatalog: boolean;
}

const HINT = /^lockstep:\s*(leader|follower)$/i;
const MODIFYING_WORDS = new Set(['insert', 'update', 'delete', 'merge', 'into', 'truncate']);
const LOCKING_STRENGTHS = new Set(['update', 'share', 'no', 'key']);
const TEMPORARY_WORDS = new Set(['temp', 'temporary']);

/** What can be created, altered or dropped that changes what a name in a query does. */
const CATALOG_OBJECTS = new Set(
  'function procedure routine aggregate view rule extension schema sequence'.split(' '),
);

/**
 * Decides where a statement may run. It says `read` only when the text is one SELECT, WITH, VALUES or TABLE
 * whose every word is known to be harmless; everything it does not know goes to the leader. A comment
 * `lockstep: leader` or `lockstep: follower` in the text moves what is otherwise undecided: a hint never
 * sends to a follower what surely writes or what would silently take effect in the wrong place.
 */
export function classify(sql: string, known: CatalogNames = NOTHING_KNOWN): Classification {
  return analyze(sql, known).classification;
}

/** {@link classify}, with what else the text tells. */
export function analyze(sql: string, known: CatalogNames): Analysis {
  const { tokens, comments, isCertain } = lexSql(sql);
  const statements = splitStatements(tokens);
  const hint = findHint(comments);
  const told = { isDoubtful: false, hint, changesCatalog: statements.some(isCatalogChange) };
  const first = statements[0];
  if (first === undefined)
    return { ...told, classification: onLeader('leader-read', 'empty', 'empty', isCertain) };
  if (!isCertain) return { ...told, classification: onLeader('write', 'other', 'ambiguous quoting', false) };
  if (statements.length > 1) return { ...told, classification: classifyMany(statements, known) };
  const isQuery = startsQuery(wordAt(first, firstWordIndex(first)));
  const verdict = isQuery ? classifyQuery(first, known) : classifyOther(first, known);
  const classification = applyHint(verdict, hint, isQuery);
  return { ...told, classification, isDoubtful: isQuery && isDoubtful(verdict) };
}

/** What the catalog or the name itself told is not in doubt; a word that only looks like a keyword is. */
function isDoubtful({ kind, form }: Verdict): boolean {
  return kind === 'write' && form !== 'own-server' && form !== 'volatile-call';
}

function onLeader(
  kind: StatementKind,
  form: StatementForm,
  reason: string,
  isSingle: boolean,
): Classification {
  return { kind, form, reason, isSingle, mayUseFollower: false };
}

/**
 * Splits at semicolons, but not at those inside a rule's list of actions or a function's body between
 * BEGIN ATOMIC and END, in which only CASE has an END of its own.
 */
function splitStatements(tokens: readonly SqlToken[]): SqlToken[][] {
  const statements: SqlToken[][] = [];
  let current: SqlToken[] = [];
  let depth = 0;
  let atomicDepth = 0;
  for (const token of tokens) {
    if (isSymbol(token, ';') && depth + atomicDepth === 0) {
      if (current.length > 0) statements.push(current);
      current = [];
      continue;
    }
    if (wordAt(current, 0) === 'create') {
      depth = Math.max(0, depth + parenthesisStep(token));
      atomicDepth += atomicStep(token, current.at(-1), atomicDepth > 0);
    }
    current.push(token);
  }
  if (current.length > 0) statements.push(current);
  return statements;
}

function parenthesisStep(token: SqlToken): number {
  if (isSymbol(token, '(')) return 1;
  return isSymbol(token, ')') ? -1 : 0;
}

function atomicStep(token: SqlToken, before: SqlToken | undefined, isInside: boolean): number {
  if (token.kind !== 'word') return 0;
  if (!isInside) return token.text === 'atomic' && before?.text === 'begin' ? 1 : 0;
  if (token.text === 'case') return 1;
  return token.text === 'end' ? -1 : 0;
}

function classifyMany(statements: readonly SqlToken[][], known: CatalogNames): Classification {
  const isLeft = statements.some((statement) => classifyOne(statement, known).kind === 'session');
  return onLeader(isLeft ? 'session' : 'write', 'other', 'several statements', false);
}

function classifyOne(tokens: readonly SqlToken[], known: CatalogNames): Verdict {
  const isQuery = startsQuery(wordAt(tokens, firstWordIndex(tokens)));
  return isQuery ? classifyQuery(tokens, known) : classifyOther(tokens, known);
}

function isCatalogChange(tokens: readonly SqlToken[]): boolean {
  const first = wordAt(tokens, 0);
  if (first !== 'create' && first !== 'alter' && first !== 'drop') return false;
  return tokens.slice(1, 6).some(({ kind, text }) => kind === 'word' && CATALOG_OBJECTS.has(text));
}

function findHint(comments: readonly string[]): Hint {
  for (const comment of comments) {
    const match = HINT.exec(comment);
    if (match?.[1] !== undefined) return match[1].toLowerCase() === 'leader' ? 'leader' : 'follower';
  }
  return null;
}

/** The classification of a single statement, with what a hint in it asks for. */
export function applyHint(verdict: Verdict, hint: Hint, isQuery: boolean): Classification {
  if (verdict.kind === 'read') {
    return hint === 'leader'
      ? onLeader('leader-read', 'query', 'hint', true)
      : { ...verdict, isSingle: true, mayUseFollower: true };
  }
  // It stays a write: when no follower can take it the leader does, where it must not run twice.
  const mayUseFollower = hint === 'follower' && isQuery && isUndecided(verdict);
  return { ...verdict, isSingle: true, mayUseFollower };
}

/** `(SELECT …) UNION …` starts with parentheses. */
function firstWordIndex(tokens: readonly SqlToken[]): number {
  let index = 0;
  while (isSymbol(tokens[index], '(')) index += 1;
  return index;
}

function wordAt(tokens: readonly SqlToken[], index: number): string {
  const token = tokens[index];
  return token?.kind === 'word' ? token.text : '';
}

function isSymbol(token: SqlToken | undefined, text: string): boolean {
  return token?.kind === 'symbol' && token.text === text;
}

function startsQuery(word: string): boolean {
  return word === 'select' || word === 'with' || word === 'values' || word === 'table';
}

/** A statement other than a query: it goes to the leader, but may leave state in its connection. */
function classifyOther(tokens: readonly SqlToken[], known: CatalogNames): Verdict {
  let verdict = judgeFirstWords(tokens);
  for (const [index, token] of tokens.entries()) {
    if (token.kind !== 'word' && token.kind !== 'quoted') continue;
    const isCall = isSymbol(tokens[index + 1], '(');
    const found = isCall && SESSION_FUNCTIONS.has(token.text) ? judgeFunction(null, token.text, known) : null;
    if (found !== null || token.text === 'pg_temp') verdict = graver(verdict, found ?? TEMPORARY_OBJECT);
  }
  return verdict;
}

function judgeFirstWords(tokens: readonly SqlToken[]): Verdict {
  const word = wordAt(tokens, 0);
  const next = wordAt(tokens, 1);
  switch (word) {
    case 'show':
      return { kind: 'leader-read', form: 'other', reason: 'SHOW' };
    case 'begin':
      return delimits('begin');
    case 'start':
      return delimits(next === 'transaction' ? 'begin' : 'write');
    case 'commit':
    case 'end':
      return delimits(next === 'prepared' ? 'write' : 'commit');
    case 'rollback':
    case 'abort':
      if (hasWord(tokens, 'to')) return SAVEPOINT;
      return delimits(next === 'prepared' ? 'write' : 'rollback');
    case 'savepoint':
    case 'release':
      return SAVEPOINT;
    case 'set':
      return judgeSet(next);
    case 'reset':
    case 'discard':
    case 'unlisten':
    case 'deallocate':
    case 'load':
      return leavesState(word.toUpperCase());
    case 'listen':
      return { ...leavesState('LISTEN'), form: 'listen' };
    case 'prepare':
      return next === 'transaction'
        ? { kind: 'write', form: 'prepare-transaction', reason: 'PREPARE TRANSACTION' }
        : leavesState('PREPARE');
    case 'declare':
      return hasWord(tokens, 'hold') ? leavesState('cursor') : judgeCommand('cursor');
    case 'create':
      return tokens.slice(1, 5).some(isTemporaryWord) ? TEMPORARY_OBJECT : judgeCommand('CREATE');
    default:
      return judgeCommand(word === '' ? 'unknown statement' : word.toUpperCase());
  }
}

const SAVEPOINT: Verdict = { kind: 'write', form: 'savepoint', reason: 'savepoint' };

function delimits(kind: StatementKind): Verdict {
  return { kind, form: 'other', reason: 'transaction' };
}

function judgeSet(next: string): Verdict {
  const isLocal = next === 'local' || next === 'transaction' || next === 'constraints';
  return { kind: isLocal ? 'leader-read' : 'session', form: 'set', reason: 'SET' };
}

function isTemporaryWord({ kind, text }: SqlToken): boolean {
  return kind === 'word' && TEMPORARY_WORDS.has(text);
}

function hasWord(tokens: readonly SqlToken[], word: string): boolean {
  return tokens.some((token) => token.kind === 'word' && token.text === word);
}

function classifyQuery(tokens: readonly SqlToken[], known: CatalogNames): Verdict {
  let verdict = READS_ONLY;
  for (const [index, token] of tokens.entries()) {
    const found = judgeToken(tokens, index, token, known);
    if (found !== null) verdict = graver(verdict, found);
  }
  return verdict;
}

function judgeToken(
  tokens: readonly SqlToken[],
  index: number,
  token: SqlToken,
  known: CatalogNames,
): Verdict | null {
  const { kind, text } = token;
  if (kind !== 'word' && kind !== 'quoted') return null;
  if (kind === 'word') {
    if (MODIFYING_WORDS.has(text)) return judgeModifyingWord(tokens, index, text);
    if (text === 'for' && LOCKING_STRENGTHS.has(wordAt(tokens, index + 1))) {
      return ROW_LOCKS;
    }
  }
  return isSymbol(tokens[index + 1], '(') ? judgeCall(tokens, index, token, known) : judgeName(text, known);
}

function judgeModifyingWord(tokens: readonly SqlToken[], index: number, word: string): Verdict {
  if (word === 'into' && tokens.slice(index + 1, index + 3).some(isTemporaryWord)) return TEMPORARY_OBJECT;
  return judgeCommand(word.toUpperCase());
}

function judgeCall(
  tokens: readonly SqlToken[],
  index: number,
  token: SqlToken,
  known: CatalogNames,
): Verdict | null {
  const name = token.text;
  // A column list may follow the name of a view or of a query in WITH, so it may be no call at all.
  if (known.hazards.has(name)) return judgeName(name, known);
  const isQualified = isSymbol(tokens[index - 1], '.');
  // After AS, WITH or RECURSIVE stands an alias with a column list, which calls nothing.
  if (!isQualified && WORDS_BEFORE_ALIAS.has(wordAt(tokens, index - 1))) return null;
  const isKeyword = token.kind === 'word' && !isQualified && WORDS_BEFORE_PARENTHESIS.has(name);
  if (isKeyword && !known.volatileFunctions.has(name)) return null;
  return judgeFunction(isQualified ? (tokens[index - 2]?.text ?? '') : null, name, known);
}

const WORDS_BEFORE_ALIAS = new Set(['as', 'with', 'recursive']);

/**
 * Whether it may run behind a statement of Lockstep's own in one message batch. That makes a transaction
 * around both, which VACUUM and its like refuse.
 */
export function canFollowOwnStatement({ kind, form, isSingle }: Classification): boolean {
  if (!isSingle) return false;
  if (kind === 'read' || kind === 'leader-read') return form !== 'empty' && form !== 'set';
  return kind === 'write' && (form === 'row-change' || isUndecided({ form }));
}

/** Whether it has to be taken for a write. */
export function mayWrite({ kind }: Pick<Classification, 'kind'>): boolean {
  return kind !== 'read' && kind !== 'leader-read';
}

/**
 * Whether it begins or ends a transaction, or sets a place in one: alone it means nothing, or something else than
 * among the statements it was written for.
 */
export function controlsTransaction({ kind, form }: Pick<Classification, 'kind' | 'form'>): boolean {
  if (kind === 'begin' || kind === 'commit' || kind === 'rollback') return true;
  return form === 'savepoint' || form === 'prepare-transaction';
}
