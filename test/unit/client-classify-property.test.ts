import fc from 'fast-check';
import { loadModule, parseSync } from 'libpg-query';
import { beforeAll, describe, expect, it } from 'vitest';
import { NOTHING_KNOWN } from '../../src/client/classify/core/catalog-names.ts';
import { analyze, classify } from '../../src/client/classify/core/classify.ts';
import { READ_ONLY_FUNCTIONS, WORDS_BEFORE_PARENTHESIS } from '../../src/client/classify/core/functions.ts';
import { judgeTree } from '../../src/client/classify/core/judge-tree.ts';
import { anyScript, anyStatement } from './sql-statements.ts';
import { ACCEPTED_STATEMENTS } from './sql-corpus.ts';

beforeAll(() => loadModule());

const RUNS = 2000;

type Tree = ReturnType<typeof parseSync>;

function parseOrNull(sql: string): Tree | null {
  try {
    return parseSync(sql);
  } catch {
    return null;
  }
}

/** Everything in the tree that a query sent to a follower must not have. */
function findOffences(value: unknown): string[] {
  if (Array.isArray(value)) return value.flatMap(findOffences);
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([key, child]: [string, any]) => {
    const inside = findOffences(child);
    if (key.endsWith('Stmt') && key !== 'SelectStmt') return [key, ...inside];
    if (key === 'intoClause' || key === 'lockingClause') return [key, ...inside];
    if (key === 'FuncCall' && !isKnownCall(child)) return [JSON.stringify(child.funcname), ...inside];
    if (key === 'RangeVar' && (isServerName(child.relname) || isServerName(child.schemaname)))
      return [child.relname, ...inside];
    return inside;
  });
}

function isKnownCall(call: any): boolean {
  const names: string[] = call.funcname.map((part: any) => part.String.sval);
  const name = names.at(-1) ?? '';
  if (names.length > 1 && names.at(-2) !== 'pg_catalog') return false;
  return READ_ONLY_FUNCTIONS.has(name) || (names.length === 1 && WORDS_BEFORE_PARENTHESIS.has(name));
}

function isServerName(name: unknown): boolean {
  return typeof name === 'string' && name.startsWith('pg_') && name !== 'pg_catalog';
}

function countStatements(tree: Tree): number {
  return tree.stmts?.length ?? 0;
}

/** What makes the lexer's word wrong about a text that PostgreSQL can parse; null when it is right. */
function findMistake(sql: string, tree: Tree): string | null {
  const found = classify(sql);
  const count = countStatements(tree);
  if (found.kind === 'read') {
    if (count !== 1) return `a read of ${count} statements`;
    const offences = findOffences(tree);
    if (offences.length > 0) return `a read with ${offences.join(', ')}`;
  }
  if (found.isSingle !== count <= 1 && found.reason !== 'ambiguous quoting')
    return `isSingle ${found.isSingle} for ${count} statements`;
  return null;
}

describe('the classifier against the grammar of PostgreSQL', { timeout: 60_000 }, () => {
  it(`calls nothing a read that is none, and counts statements alike (${RUNS} scripts)`, () => {
    let parsed = 0;
    let reads = 0;
    fc.assert(
      fc.property(anyScript, (sql) => {
        const tree = parseOrNull(sql);
        if (tree === null) return;
        parsed += 1;
        if (classify(sql).kind === 'read') reads += 1;
        expect(findMistake(sql, tree), sql).toBeNull();
      }),
      { numRuns: RUNS },
    );
    // A generator whose statements nobody accepts, or which never reads, would test nothing.
    expect(parsed).toBeGreaterThan(RUNS * 0.4);
    expect(reads).toBeGreaterThan(RUNS * 0.08);
  });

  it('agrees with the judgement by tree wherever the lexer is not in doubt', () => {
    fc.assert(
      fc.property(anyStatement, (sql) => {
        const tree = parseOrNull(sql);
        if (tree === null) return;
        const { classification, isDoubtful } = analyze(sql, NOTHING_KNOWN);
        const verdict = judgeTree(tree, NOTHING_KNOWN);
        if (verdict.kind === 'read') expect(findOffences(tree), sql).toEqual([]);
        if (classification.kind === 'read' && !/^unknown function (\w+)/.test(verdict.reason))
          expect(verdict.kind, sql).toBe('read');
        const isQuery = countStatements(tree) === 1 && 'SelectStmt' in (tree.stmts?.[0]?.stmt ?? {});
        if (isQuery && !isDoubtful && classification.kind === 'session')
          expect(verdict.kind, sql).not.toBe('read');
      }),
      { numRuns: RUNS },
    );
  });

  it('follows a hint wherever it stands between the words, and nowhere inside a string', () => {
    const words = ['SELECT', 'a', ',', "'x'", 'FROM', 't', 'WHERE', 'b', '=', '$1'];
    fc.assert(
      fc.property(
        fc.nat({ max: words.length }),
        fc.constantFrom('/* lockstep: leader */', '/*lockstep:LEADER*/', '-- lockstep: leader\n'),
        (at, hint) => {
          const sql = [...words.slice(0, at), hint, ...words.slice(at)].join(' ');
          expect(classify(sql), sql).toMatchObject({ kind: 'leader-read', mayUseFollower: false });
          expect(classify(`SELECT '${hint}', $$${hint}$$, "${hint}"`), sql).toMatchObject({ kind: 'read' });
        },
      ),
    );
    fc.assert(
      fc.property(anyStatement, (sql) => {
        const plain = classify(sql);
        const hinted = classify(`/* lockstep: follower */ ${sql}`);
        expect(hinted.kind, sql).toBe(plain.kind);
        const tree = parseOrNull(sql);
        if (tree === null || !hinted.mayUseFollower || !hinted.isSingle) return;
        const modifying = findOffences(tree).filter((offence) => /Stmt$|Clause$/.test(offence));
        expect(modifying, sql).toEqual([]);
      }),
      { numRuns: RUNS / 4 },
    );
  });

  it.each(ACCEPTED_STATEMENTS)('is right about: %s', (sql) => {
    const tree = sql === '' ? { stmts: [] } : parseSync(sql);
    expect(findMistake(sql, tree)).toBeNull();
    if (judgeTree(tree, NOTHING_KNOWN).kind === 'read') expect(findOffences(tree)).toEqual([]);
  });

  it('never throws on mutilated text, and is right about what PostgreSQL still accepts', () => {
    const pieces = [
      "'",
      '"',
      '$$',
      '$a$',
      '/*',
      '*/',
      '--',
      '\n',
      '\\',
      ';',
      '(',
      ')',
      'E',
      'U&',
      '.',
      '\0',
      'ſ',
    ];
    const mutilated = fc
      .tuple(
        fc.constantFrom(...ACCEPTED_STATEMENTS),
        fc.array(
          fc.record({
            at: fc.nat(),
            length: fc.nat({ max: 3 }),
            put: fc.oneof(fc.constantFrom(...pieces), fc.string({ unit: 'binary', maxLength: 2 })),
          }),
          { minLength: 1, maxLength: 4 },
        ),
      )
      .map(([sql, edits]) =>
        edits.reduce((text, { at, length, put }) => {
          const start = at % (text.length + 1);
          return text.slice(0, start) + put + text.slice(start + length);
        }, sql),
      );
    fc.assert(
      fc.property(mutilated, (sql) => {
        const found = classify(sql);
        // A zero byte ends the text for the parser, so it is no oracle for what stands behind.
        if (sql.includes('\0')) expect(found.mayUseFollower, sql).toBe(false);
        const tree = sql.includes('\0') ? null : parseOrNull(sql);
        if (tree !== null) expect(findMistake(sql, tree), sql).toBeNull();
      }),
      { numRuns: RUNS },
    );
  });
});

describe('texts of a megabyte', { timeout: 60_000 }, () => {
  const size = 1_000_000;
  const giants: Record<string, string> = {
    quotes: `SELECT ${"'".repeat(size)}`,
    'doubled identifiers': `SELECT "${'""'.repeat(size / 2)}`,
    'nested comments': `SELECT 1 ${'/*'.repeat(size / 2)}`,
    'closed nested comments': `SELECT 1 ${'/*'.repeat(size / 4)}${'*/'.repeat(size / 4)}`,
    'many comments': `SELECT 1 ${'/* lockstep:      x*/'.repeat(size / 20)}`,
    'a hint that never ends': `SELECT 1 /* lockstep:${' '.repeat(size)}x */`,
    'dollar signs': `SELECT ${'$'.repeat(size)}`,
    'tags that never close': `SELECT ${'$a '.repeat(size / 3)}`,
    'one long tag': `SELECT $${'a'.repeat(size)}`,
    'other tags': `SELECT $x$ ${'$y$'.repeat(size / 3)}`,
    backslashes: `SELECT E'${'\\'.repeat(size)}'`,
    parentheses: `${'('.repeat(size)}SELECT 1`,
    'function calls': `SELECT ${'lower('.repeat(size / 6)}`,
    'long word': `SELECT ${'a'.repeat(size)}`,
    'long foreign word': `SELECT ${'Ä'.repeat(size)}`,
    digits: `SELECT ${'1'.repeat(size)}`,
    'numbers and dots': `SELECT ${'1.'.repeat(size / 2)}`,
    semicolons: 'SELECT 1;'.repeat(size / 10),
    dashes: `SELECT 1 ${'- '.repeat(size / 2)}`,
    spaces: `SELECT ${' '.repeat(size)}1`,
    values: `INSERT INTO t VALUES ${"(1, 'x'),".repeat(size / 9)}(1, 'x')`,
    'create with parentheses': `CREATE RULE r ${'('.repeat(size / 2)}${';'.repeat(size / 2)}`,
  };

  it.each(Object.entries(giants))('takes linear time over %s', (_, sql) => {
    // Ten times the length may take about ten times as long; a quadratic scan takes a hundred times.
    const quick = timeOf(() => classify(sql.slice(0, size / 10)));
    const whole = timeOf(() => classify(sql));
    expect(whole).toBeLessThan(Math.max(quick * 40, 1500));
  });
});

function timeOf(work: () => unknown): number {
  const startedAtMs = performance.now();
  work();
  return performance.now() - startedAtMs;
}
