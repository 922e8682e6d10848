import { expect, it } from 'vitest';
import { isOneExpression } from '../../src/logical/follow/core/one-expression.ts';

it.each([
  '(a + b)',
  `((first || ' '::text) || "last (name)")`,
  `lower('it''s (': :text)`,
  String.raw`(a || '\'::text)`,
  `(flags & B'101'::"bit")`,
  `(tags)[1]`,
  `(data ->> 'a;b--c$d'::text)`,
  `CASE WHEN (a > 0) THEN 1 ELSE 2 END`,
])('takes %s', (text) => {
  expect(isOneExpression(text)).toBe(true);
});

it.each([
  'a) STORED, b int DEFAULT lo_export(1, $a$/tmp/x$a$)',
  '1) STORED DEFAULT (2',
  '(a',
  'a)',
  '(a]',
  `a /* ' */`,
  `a -- '`,
  String.raw`E'a\') , lo_export(''`,
  String.raw`e'a\') , lo_export(''`,
  String.raw`U&'a\') , lo_export(''`,
  String.raw`U&"a\"") , "`,
  `$$a$$`,
  `'open`,
  `"open`,
  'a; b',
  ' ',
])('refuses %s', (text) => {
  expect(isOneExpression(text)).toBe(false);
});
