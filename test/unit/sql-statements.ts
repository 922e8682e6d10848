// Statements made out of a grammar of their own, for tests against PostgreSQL's.
import fc from 'fast-check';
import type { Arbitrary, LetrecTypedTie } from 'fast-check';

const OTHER_STATEMENTS = [
  'BEGIN',
  'COMMIT',
  "SET search_path TO 'a;b'",
  'LISTEN "a;b"',
  'CREATE TABLE t (a int DEFAULT nextval($$s$$))',
  'EXPLAIN ANALYZE DELETE FROM t',
  'COPY (SELECT f(1)) TO STDOUT',
  'DO $do$ BEGIN DELETE FROM t; END $do$',
  "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1; SELECT 2'",
  'CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; SELECT 2; END',
  'CREATE RULE r AS ON UPDATE TO t DO ALSO (DELETE FROM u; SELECT 1)',
  'LOCK TABLE t',
  'CALL p(1)',
];

/** White space and comments with quotes, semicolons, nesting and hints in them. */
const gap = fc.oneof(
  { weight: 8, arbitrary: fc.constant(' ') },
  {
    weight: 2,
    arbitrary: fc.constantFrom(
      '\n',
      '\t ',
      "/* it's */",
      '/* a /* "b */ ; c */',
      '-- don\'t; "x\n',
      '/**/',
      '/* $$ */',
      '/***/ ',
      "/* lockstep */ -- '\r\n",
      ' /*/* */*/ ',
    ),
  },
);

/** Names that a read may use, and now and then one that makes it something else. */
function mostly(harmless: readonly string[], others: readonly string[]): Arbitrary<string> {
  return fc.oneof(
    { weight: 9, arbitrary: fc.constantFrom(...harmless) },
    { weight: 1, arbitrary: fc.constantFrom(...others) },
  );
}

const name = mostly(
  [
    't',
    'orders',
    '"update"',
    '"a""b;c"',
    '"for"',
    'app.t',
    '"App"."x y"',
    'ärger',
    'имя',
    'x$y',
    '"😀"',
    'value',
    'filter',
    'name',
    'key',
  ],
  ['pg_stat_activity', '"pg_locks"', 'U&"d\\0061t"'],
);

const column = fc.constantFrom('a', 'b', 't.a', '"delete"', '"x;y"', 'value', 'date', 'key', 'x.y.z', '*');

const literal = fc.oneof(
  fc.constantFrom(
    '1',
    '1.5e-3',
    '.5',
    '0x1F',
    '1_000',
    '$1',
    'NULL',
    'true',
    "'x'",
    "'it''s; delete'",
    "E'it\\'s'",
    "e'a\\\\'",
    "E'\\'; update t --'",
    "U&'d\\0061t'",
    "U&'d!0061t' UESCAPE '!'",
    "B'01'",
    "X'ff'",
    "n'x'",
    '$$; drop $a$ table $$',
    '$tag$ \' $$ " $tag$',
    '$ü$ü$ü$',
    "'a'\n'b'",
    "'/* no comment'",
    "'-- none'",
    "'back\\slash'",
    "'q\\'",
    "DATE '2024-01-01'",
    "INTERVAL '1' DAY",
    "'\u00a0\ufeff'",
    'current_date',
    'current_timestamp(3)',
    'current_user',
  ),
  fc.string({ maxLength: 6 }).map((text) => `'${text.replaceAll("'", "''")}'`),
);

const functionName = mostly(
  [
    'count',
    'lower',
    'coalesce',
    'left',
    'filter',
    'over',
    'like',
    'row',
    'now',
    'pg_catalog.lower',
    '"lower"',
  ],
  [
    'cube',
    '"Lower"',
    'nextval',
    'my_function',
    'app.f',
    'pg_advisory_lock',
    'pg_catalog.set_config',
    '"pg_catalog"."set_config"',
    'set_config',
    'pg_sleep',
    'txid_current',
    'dblink',
    'ran\u212a',
    'U&"pg\\005fnotify"',
  ],
);

const operator = fc.constantFrom(
  '+',
  '->>',
  '->',
  '#>>',
  '@>',
  '<@',
  '?',
  '?|',
  '?&',
  '||',
  '=',
  '<>',
  '<=',
  '~*',
  '!~',
  '@@',
  '&&',
  'AND',
  'OR',
  'LIKE',
  'NOT ILIKE',
  'IS DISTINCT FROM',
  'SIMILAR TO',
  'OPERATOR(pg_catalog.+)',
  '-',
  '*',
  '/',
  '%',
);

const castType = fc.constantFrom(
  'int',
  'numeric(10,2)',
  'varchar(3)',
  'text[]',
  'timestamp(3) with time zone',
  'app.kind',
);

interface Parts {
  expression: string;
  select: string;
  query: string;
  with: string;
  source: string;
}

function glue(...parts: readonly (Arbitrary<string> | string)[]): Arbitrary<string> {
  const all = parts.map((part) => (typeof part === 'string' ? fc.constant(part) : part));
  return fc.tuple(...all.flatMap((part) => [part, gap])).map((pieces) => pieces.slice(0, -1).join(''));
}

function optional(part: Arbitrary<string>, weight = 1): Arbitrary<string> {
  return fc.oneof({ weight: 3, arbitrary: fc.constant('') }, { weight, arbitrary: part });
}

function rarely(part: Arbitrary<string>): Arbitrary<string> {
  return fc.oneof({ weight: 15, arbitrary: fc.constant('') }, { weight: 1, arbitrary: part });
}

const sql = fc.letrec<Parts>((tie: LetrecTypedTie<Parts>) => {
  const expression = tie('expression');
  const query = tie('query');
  return {
    expression: fc.oneof(
      { depthSize: 'small', withCrossShrink: true },
      literal,
      column.filter((name) => name !== '*'),
      glue(functionName, '(', expression, ')'),
      glue('lower(', expression, ')'),
      glue('count(*) FILTER (WHERE', expression, ')'),
      glue('sum(a) OVER (PARTITION BY', expression, 'ORDER BY b ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)'),
      glue(expression, operator, expression),
      glue('(', expression, ')::', castType),
      glue('CAST(', expression, 'AS', castType, ')'),
      glue('ARRAY[', expression, ',', expression, '][1:2]'),
      glue('(', query, ')'),
      glue('EXISTS (', query, ')'),
      glue(expression, 'IN (', query, ')'),
      glue('CASE WHEN', expression, 'THEN', expression, 'ELSE 1 END'),
      glue('substring(', expression, 'FROM 1 FOR 2)'),
      glue('trim(BOTH FROM', expression, ')'),
      glue('extract(year FROM', expression, ')'),
      glue('overlay(', expression, "PLACING 'x' FROM 1)"),
      glue(expression, 'AT TIME ZONE', literal),
      glue('ROW(', expression, ', 1)'),
      glue('a[', expression, ':', expression, ']'),
      glue("json_object('k' :", expression, ')'),
      glue('xmlelement(name x,', expression, ')'),
      glue('(', expression, ').f'),
    ),
    source: fc.oneof(
      { depthSize: 'small' },
      name,
      glue('(', query, ') AS q(a, b)'),
      glue('LATERAL (', query, ') q'),
      glue('unnest(', expression, ') WITH ORDINALITY AS u(a, n)'),
      glue(functionName, '(', expression, ') AS f(a int)'),
      glue(tie('source'), 'JOIN', name, 'ON', expression),
      glue(name, 'TABLESAMPLE system (10)'),
      glue("json_table('{}', '$' COLUMNS (a int PATH '$', FOR_X text PATH '$'))"),
    ),
    select: glue(
      'SELECT',
      fc.oneof(fc.constant('*'), expression, glue(expression, 'AS "x;y",', expression)),
      rarely(glue('INTO', fc.constantFrom('x', 'TEMP x', 'pg_temp.x'))),
      optional(glue('FROM', tie('source')), 9),
      optional(glue('WHERE', expression), 3),
      optional(
        glue('GROUP BY', fc.constantFrom('1', 'GROUPING SETS ((a), (b))', 'ROLLUP (a, b)', 'CUBE (a)')),
      ),
      optional(glue('ORDER BY', expression, 'DESC NULLS LAST')),
      optional(fc.constantFrom('LIMIT 1', 'FETCH FIRST ROW ONLY', 'OFFSET 3')),
      rarely(fc.constantFrom('FOR UPDATE', 'FOR NO KEY UPDATE', 'FOR\nSHARE OF t', 'FOR KEY SHARE NOWAIT')),
    ),
    query: fc.oneof(
      { depthSize: 'small', withCrossShrink: true },
      { weight: 5, arbitrary: tie('select') },
      { weight: 1, arbitrary: glue(tie('select'), 'UNION ALL', tie('select')) },
      { weight: 1, arbitrary: glue('(', tie('select'), ') EXCEPT (', tie('select'), ')') },
      { weight: 1, arbitrary: glue(tie('with'), tie('select')) },
      { weight: 1, arbitrary: glue('VALUES (', expression, ',', expression, ')') },
      { weight: 1, arbitrary: glue('TABLE', name) },
    ),
    with: glue(
      fc.constantFrom('WITH', 'WITH RECURSIVE'),
      fc.constantFrom('c', 'c(a)', '"insert"', 'c(a, b)'),
      fc.constantFrom('AS (', 'AS MATERIALIZED (', 'AS NOT MATERIALIZED ('),
      fc.oneof(
        { weight: 3, arbitrary: query },
        {
          weight: 1,
          arbitrary: fc.constantFrom(
            'DELETE FROM t RETURNING *',
            'INSERT INTO t VALUES (1) RETURNING a',
            'UPDATE t SET a = 1 RETURNING a',
            'MERGE INTO t USING u ON true WHEN MATCHED THEN DELETE RETURNING *',
          ),
        },
      ),
      ')',
      optional(fc.constant(', d(x) AS (SELECT 1)')),
    ),
  };
});

const modifying = fc.oneof(
  glue('INSERT INTO', name, sql.query),
  glue('UPDATE', name, 'SET a =', sql.expression, 'RETURNING', sql.expression),
  glue('DELETE FROM', name, 'WHERE', sql.expression),
);

/** One statement: mostly queries, since the question is which of them only read. */
export const anyStatement: Arbitrary<string> = fc.oneof(
  { weight: 8, arbitrary: sql.query },
  { weight: 2, arbitrary: glue(sql.with, sql.select) },
  { weight: 2, arbitrary: modifying },
  { weight: 1, arbitrary: fc.constantFrom(...OTHER_STATEMENTS) },
);

/** Mostly one statement, else several in one text, some of them empty. */
export const anyScript: Arbitrary<string> = fc.oneof(
  { weight: 2, arbitrary: anyStatement },
  {
    weight: 1,
    arbitrary: fc
      .array(
        fc.oneof(
          { weight: 6, arbitrary: anyStatement },
          { weight: 1, arbitrary: fc.constantFrom('', ' ', '-- x\n') },
        ),
        { minLength: 1, maxLength: 3 },
      )
      .map((statements) => statements.join(';')),
  },
);
