import { expect, test } from 'vitest';
import { isOfTheCondition } from '../../src/leader-follower/rescue/core/condition-error.ts';

test.each([
  ['a column that is not there', '42703'],
  ['a function that raises', 'P0001'],
  ['a function that asserts', 'P0004'],
  ['a function that may not do that', '38003'],
  ['a trigger as a function', '39P01'],
  ['a text that is too long', '54000'],
  ['a function that takes too long', '57014'],
])('%s is told as a matter of the condition', (_, sqlState) => {
  expect(isOfTheCondition(sqlState)).toBe(true);
});

test.each([
  ['a server that stops', '57P01'],
  ['a full disk', '53100'],
  ['a broken connection', 'ECONNRESET'],
  ['what has no code', ''],
])('%s is not', (_, code) => {
  expect(isOfTheCondition(code)).toBe(false);
});
