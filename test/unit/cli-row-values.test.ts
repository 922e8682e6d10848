import { expect, test } from 'vitest';
import { renderTable } from '../../src/cli/follow/compare-command.ts';
import { renderConflicts } from '../../src/cli/regions/conflicts-command.ts';
import type { LoggedConflict } from '../../src/cli/regions/conflicts-command.ts';

/** Sets the title of a terminal, clears it, and goes on as if the program had said so. */
const HOSTILE = 'cup\u001b]0;owned\u0007\u001b[2J\r\nall is well\u009b31m';
// oxlint-disable-next-line no-control-regex
const OBEYED = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/;

const conflict: LoggedConflict = {
  table: 'public.products',
  key: HOSTILE,
  kind: 'update-update',
  decision: 'later-wins',
  reason: null,
  earlier: null,
  later: { at: '2026-01-01T00:00:00Z', region: 'eu' },
  before: { name: 'cup' },
  seen: { name: 'cup' },
  written: { name: HOSTILE },
  result: { name: HOSTILE },
};

const different = {
  table: 'public.products',
  rows: 1,
  differences: [{ kind: 'missing', key: [HOSTILE] }],
  undecided: 0,
  repaired: 0,
} as unknown as Parameters<typeof renderTable>[0];

test.each([
  ['of a conflict', renderConflicts([conflict])],
  ['of a row that differs', renderTable(different)],
])('values %s are shown, and no terminal obeys them', (_, text) => {
  expect(text).toContain('cup');
  expect(text).not.toMatch(OBEYED);
  expect(text).not.toMatch(/^all is well/m);
});
