import { expect, test } from 'vitest';
import { renderTable } from '../../src/cli/follow/compare-command.ts';
import { renderConflicts } from '../../src/cli/regions/conflicts-command.ts';
import type { LoggedConflict } from '../../src/cli/regions/conflicts-command.ts';
import { renderComparison, renderRegions } from '../../src/cli/regions/render.ts';
import { renderFollow } from '../../src/cli/screen/follow-lines.ts';
import type { FollowStatus } from '../../src/logical/follow/status.ts';
import type { RegionStatus } from '../../src/multi-leader/region.ts';

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

const region = {
  problem: HOSTILE,
  links: [{ from: 'eu', to: 'us', state: 'broken', lagMs: null, applied: 0, lost: 0, detail: HOSTILE }],
} as unknown as RegionStatus;

const comparison = {
  isEqual: false,
  tables: [{ table: 'public.products', rows: { eu: 1, us: 1 }, isEqual: false }],
  differences: [{ table: 'public.products', key: [HOSTILE], rows: { eu: HOSTILE, us: null } }],
} as unknown as Parameters<typeof renderComparison>[0];

const follow = {
  name: 'main',
  state: 'retrying',
  message: HOSTILE,
  quarantined: 0,
  missingRows: 0,
} as unknown as FollowStatus;

test.each([
  ['of a conflict', renderConflicts([conflict])],
  ['of a row that differs', renderTable(different)],
  ['of what a region says', renderRegions([{ name: 'eu', status: region }])],
  ['of a row that differs between regions', renderComparison(comparison)],
  ['of what a follow says', renderFollow(follow).join('\n')],
])('values %s are shown, and no terminal obeys them', (_, text) => {
  expect(text).toContain('cup');
  expect(text).not.toMatch(OBEYED);
  expect(text).not.toMatch(/^all is well/m);
});
