import { expect, test } from 'vitest';
import { renderTable } from '../../src/cli/follow/compare-command.ts';
import { createFollowScreen } from '../../src/cli/follow/follow-screen.ts';
import { renderLeaderless, renderRepaired } from '../../src/cli/leaderless/command.ts';
import { renderList, renderStatus } from '../../src/cli/rescue/rescue-text.ts';
import { renderError } from '../../src/cli/screen/error-text.ts';
import { LockstepError } from '../../src/model/errors.ts';

/** A name or a message that clears the screen, paints it green, and forges a line of ours. */
const HOSTILE = 'gone\u001b[2J\u001b]0;title\u0007\u001b[32m\nlockstep: all is well.\r\u009b2K';
const HARMLESS = 'gone lockstep: all is well. 2K';

test.each([
  ['a terminal', true, `\u001b[J${HARMLESS}\n`],
  ['a log', false, `${HARMLESS}\n`],
])('a follow that shows itself on %s tells what a server says in one plain line', (_, isTTY, said) => {
  let written = '';
  const output = { isTTY, columns: 80, write: (text: string) => (written += text) !== '' };
  createFollowScreen(output).tell(HOSTILE);
  expect(written).toBe(said);
});

test('the state of independent servers keeps a line for each', () => {
  const node = {
    name: 'a',
    host: '127.0.0.1',
    port: 5_000,
    state: 'down',
    problem: HOSTILE,
    systemIdentifier: null,
    id: null,
    epoch: null,
    hints: {},
    cells: null,
    slots: null,
  } as const;
  const found = {
    isFounded: true,
    epoch: 1,
    isChanging: false,
    quorum: 1,
    hasQuorum: false,
    acceptsWrites: false,
    nodes: [node],
  };
  expect(renderLeaderless(found, [node])).toBe(
    `a  down     127.0.0.1:5000  ${HARMLESS}\n0 of 1 servers are up: nothing works\n`,
  );
  expect(renderRepaired({ compared: 1, brought: 0 }, [{ name: 'a', problem: HOSTILE }])).toBe(
    `1 changes compared, 0 cells brought\na was left out: ${HARMLESS}\n`,
  );
});

test('a rescue shows names of the app, and what is in its way, without what is in them for a terminal', () => {
  const transaction = {
    xid: 7,
    at: '2030-01-31T03:00:00.000Z',
    lsn: '0/1',
    tables: [{ database: 'shop', table: HOSTILE, inserted: 0, updated: 0, deleted: 2 }],
    dangers: [{ kind: 'drop', text: `drops ${HOSTILE}` }],
    isReplayed: true,
    replaysAt: null,
  } as const;
  const list = { node: 'n4', transactions: [transaction], isCutOff: false, gap: null };
  const [, line, ...rest] = renderList(list, 0).split('\n');
  expect(rest).toEqual([]);
  expect(line).toContain(`${HARMLESS} -2  !! drops ${HARMLESS}; (replayed on n4: too late)`);
  const status = {
    node: 'n4',
    delayMs: 60_000,
    phase: 'held',
    target: null,
    replayedLsn: null,
    receivedLsn: null,
    problem: HOSTILE,
    reader: null,
  } as const;
  expect(renderStatus(status)).toBe(HARMLESS);
});

test('a comparison names a table in a plain line', () => {
  const same = { table: HOSTILE, rows: 1, differences: [], undecided: 0, repaired: 0 };
  expect(renderTable(same)).toBe(`${HARMLESS}: 1 rows, the same`);
});

test('an error says all in one line, so that none of it looks like another of ours', () => {
  expect(renderError(new LockstepError('CONFIG_INVALID', `Correct it: ${HOSTILE}`))).toBe(
    `lockstep: Correct it: ${HARMLESS}`,
  );
});

test('a bug shows where it is, below its one line', () => {
  const [said, ...places] = renderError(new TypeError(HOSTILE)).split('\n');
  expect(said).toBe(`lockstep: TypeError: ${HARMLESS}`);
  expect(places.length).toBeGreaterThan(0);
  for (const place of places) expect(place).toMatch(/^ {4}at /);
  expect(places[0]).toContain('cli-hostile-text.test.ts');
  expect(renderError(HOSTILE)).toBe(`lockstep: ${HARMLESS}`);
});
