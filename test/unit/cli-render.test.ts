import { stripVTControlCharacters } from 'node:util';

import fc from 'fast-check';
import { describe, expect, test, vi } from 'vitest';

import { createLiveScreen } from '../../src/cli/dev/live-screen.ts';
import type { ScreenOutput } from '../../src/cli/dev/live-screen.ts';
import { renderLive, renderPlainEvent, renderStatus } from '../../src/cli/screen/render.ts';
import { cutText, textWidth, toPlainText } from '../../src/cli/screen/text-width.ts';
import type { ClusterEvent, NodeTopology, Topology } from '../../src/model/topology.ts';
import { clusterEvent, node, topology } from './admin-fixtures.ts';

const NOW = 1_700_000_100_000;
const LINKS = { dashboardUrl: 'http://127.0.0.1:7400', psql: 'psql "postgres://app@127.0.0.1:5441/shop"' };

const mixed = topology({
  term: 4,
  timeline: 2,
  leader: 'n2',
  nodes: [
    node('n1', { state: 'rejoining', detail: 'cloning 42%', sync: false, lagMs: null, lagBytes: null }),
    node('n2', { role: 'leader', sync: false, timeline: 2 }),
    node('n3', { lagMs: 12, lagBytes: 2048, timeline: 2 }),
    node('n4', {
      role: 'unknown',
      state: 'unreachable',
      sync: false,
      receivedLsn: null,
      replayedLsn: null,
      timeline: null,
      lagMs: null,
      lagBytes: null,
    }),
  ],
});

function live(changes: Partial<Parameters<typeof renderLive>[0]> = {}): string {
  const base = {
    topology: mixed,
    events: [clusterEvent()],
    links: LINKS,
    columns: 120,
    rows: 24,
    color: false,
  };
  return renderLive({ ...base, nowMs: NOW, ...changes });
}

describe('renderStatus', () => {
  test('says why no failover is possible', () => {
    const failoverObstacle = '1 of the 2 votes that an election needs: n3 does not answer';
    const text = renderStatus(
      { ...mixed, isFailoverReady: false, failoverObstacle },
      { columns: 130, color: false },
    );
    expect(text.split('\n').slice(0, 2)).toEqual([
      expect.stringMatching(/ · no failover possible$/),
      `no failover now: ${failoverObstacle}`,
    ]);
  });

  test('says whom synchronous commits wait for in vain', () => {
    const syncPolicy = { followers: 'all', degradeAfterMs: null, isDegraded: false, confirmedBy: 1 } as const;
    const lines = (waitsFor: readonly string[], leader: string | null = 'n2'): readonly string[] =>
      renderStatus(
        { ...mixed, leader, syncPolicy: { ...syncPolicy, waitsFor } },
        { columns: 130, color: false },
      ).split('\n');
    expect(lines(['n1', 'n3'])[1]).toBe(
      'synchronous commits wait for n1, n3: the policy is every follower that may lead, and too few acknowledge',
    );
    expect(lines([])[1]).toBe('');
    expect(lines(['n1'], null).join()).not.toContain('commits wait');
  });

  test('says what helps while nobody leads', () => {
    const nodes = [
      node('n1', { state: 'unreachable' }),
      node('n2', { state: 'unreachable' }),
      node('n3', { detail: 'waits' }),
    ];
    const text = renderStatus(topology({ leader: null, nodes }), { columns: 130, color: false });
    expect(text.split('\n')[1]).toBe(
      'No majority: 1 of the 2 votes that an election needs; nobody can write. Start n1, n2.',
    );
  });

  test('does not count a node as running whose PostgreSQL is suspended; a witness has none', () => {
    const silent = { role: 'unknown', receivedLsn: null, sync: false } as const;
    const nodes = [...topology().nodes, node('n4', silent), node('w1', { ...silent, kind: 'witness' })];
    const text = renderStatus(topology({ nodes }), { columns: 130, color: false });
    expect(text.split('\n')[0]).toContain('4 of 5 nodes running');
  });

  test('a table for a person', () => {
    expect(renderStatus(mixed, { columns: 130, color: false })).toBe(
      [
        'cluster demo · leader n2 · term 4 · timeline 2 · 2 of 4 nodes running · failover ready',
        '',
        '   NODE  ROLE      STATE        SYNC   LAG    BEHIND  RECEIVED   REPLAYED   TL  ADDRESS         DETAIL',
        '◐  n1    follower  rejoining    async  –      –       0/3000060  0/3000060  1   127.0.0.1:5441  cloning 42%',
        '★  n2    leader    running      –      –      –       0/3000060  0/3000060  2   127.0.0.1:5442',
        '●  n3    follower  running      sync   12 ms  2 kB    0/3000060  0/3000060  2   127.0.0.1:5443',
        '✗  n4    unknown   unreachable  –      –      –       –          –          –   127.0.0.1:5444',
      ].join('\n'),
    );
  });

  test('a witness is named as one, with the address of its agent', () => {
    const nothing = { timeline: null, receivedLsn: null, replayedLsn: null, lagMs: null, lagBytes: null };
    const witness = node('w1', { ...nothing, role: 'unknown', kind: 'witness', sync: false, port: 0 });
    const nodes = [node('n1', { role: 'leader', sync: false }), node('n2'), witness];
    const status = renderStatus(topology({ nodes }), { columns: 130, color: false }).split('\n');
    expect(status.at(-1)).toBe(
      `◇  w1    witness   running  –     –     –       –          –          –   ${new URL(witness.agentUrl).host}`,
    );
  });

  test('a pause is told, and that there is no failover meanwhile', () => {
    const maintenance = { since: '2030-01-01T00:00:00.000Z', reason: 'new disks' };
    const lines = renderStatus(topology({ maintenance }), { columns: 130, color: false }).split('\n');
    expect(lines[0]).toBe('cluster demo · leader n1 · term 1 · timeline 1 · 3 of 3 nodes running · paused');
    expect(lines[1]).toBe(
      '"lockstep resume" ends the pause since 2030-01-01T00:00:00.000Z (new disks): no failover until then',
    );
  });

  test('in a narrow terminal the less important columns go', () => {
    expect(renderStatus(mixed, { columns: 60, color: false }).split('\n').slice(2)).toEqual([
      '   NODE  ROLE      STATE        SYNC   LAG    DETAIL',
      '◐  n1    follower  rejoining    async  –      cloning 42%',
      '★  n2    leader    running      –      –',
      '●  n3    follower  running      sync   12 ms',
      '✗  n4    unknown   unreachable  –      –',
    ]);
  });

  test('what is the matter is told below where the table has no room for it', () => {
    const detail =
      'waits for a majority of the votes; start the agents of n1, n3; its PostgreSQL answers reads';
    const told = topology({ nodes: [node('n1', { role: 'leader', sync: false }), node('n2', { detail })] });
    const lines = renderStatus(told, { columns: 60, color: false }).split('\n');
    expect(lines.slice(2)).toEqual([
      expect.stringMatching(/^ {3}NODE .* LAG/),
      expect.stringMatching(/^★ {2}n1/),
      expect.stringMatching(/^● {2}n2/),
      'n2: waits for a majority of the votes; start the agents of',
      '  n1, n3; its PostgreSQL answers reads',
    ]);
    const wide = renderStatus(told, { columns: 120, color: false });
    expect(wide).toContain('ADDRESS');
    expect(wide).toContain(`\nn2: ${detail}`);
  });

  test('colours change nothing but colours', () => {
    const colored = renderStatus(mixed, { columns: 130, color: true });
    expect(colored).toContain('\u001b[');
    const plain = stripVTControlCharacters(colored)
      .split('\n')
      .map((line) => line.trimEnd());
    expect(plain.join('\n')).toBe(renderStatus(mixed, { columns: 130, color: false }));
  });
});

describe('renderLive', () => {
  test('says who leads, how far the others are, what happened and where to go', () => {
    const lines = live({
      events: [
        clusterEvent(),
        clusterEvent({ at: NOW - 5200, node: 'n2', kind: 'promoted', message: 'timeline 2' }),
      ],
    }).split('\n');
    expect(lines[0]).toContain('n2 leads, n4 is away');
    expect(lines[1]).toBe(
      'cluster demo · leader n2 · term 4 · timeline 2 · 2 of 4 nodes running · failover ready',
    );
    expect(lines.find((line) => line.startsWith('●  n3'))).toContain('12 ms  ■■■···');
    expect(lines).toContainEqual(expect.stringMatching(/^ +5 s ago {2}n2 {2}promoted {5}timeline 2$/));
    expect(lines).toContainEqual(expect.stringMatching(/^ +\d\d:\d\d:\d\d {2}n1 {2}started/));
    expect(lines).toContain(`psql       ${LINKS.psql}`);
    expect(lines.at(-1)).toMatch(/Ctrl-C stop$/);
  });

  test('an election is said on the first line', () => {
    const electing = topology({
      leader: null,
      timeline: null,
      nodes: [node('n1', { state: 'unreachable' }), node('n2'), node('n3')],
    });
    const [first, second] = live({ topology: electing, events: [clusterEvent({ kind: 'elected' })] }).split(
      '\n',
    );
    expect(first).toContain('Electing a leader  n1 led before.');
    expect(second).toContain('no leader');
  });

  test('with few rows the nodes and the key hint stay longest', () => {
    expect(live({ rows: 9 })).not.toContain('Events');
    const tight = live({ rows: 6 }).split('\n');
    expect(tight).toHaveLength(6);
    expect(tight).toContainEqual(expect.stringMatching(/^★ {2}n2/));
    expect(tight.at(-1)).toContain('Ctrl-C');
  });

  test('before any agent was heard', () => {
    expect(live({ topology: null, events: [] })).toContain('Waiting for the agents');
  });
});

const anyText = fc.oneof(
  fc.string({ unit: 'grapheme', maxLength: 30 }),
  fc.string({ unit: 'binary', maxLength: 30 }),
  fc.constantFrom(
    '\u001b[2Jgone',
    'two\nlines',
    '日本語のノード',
    '👩‍👩‍👧 family',
    'e\u0301',
    '\uFE0F',
    '\u0007',
  ),
);
const anyNode: fc.Arbitrary<NodeTopology> = fc
  .record({
    name: anyText,
    role: fc.constantFrom('leader', 'follower', 'unknown'),
    state: fc.constantFrom('running', 'starting', 'rejoining', 'stopped', 'unreachable'),
    detail: fc.option(anyText),
    lagMs: fc.option(fc.nat()),
    lagBytes: fc.option(fc.nat()),
    sync: fc.boolean(),
  })
  .map((changes) => node('n1', changes as Partial<NodeTopology>));
const anyTopology: fc.Arbitrary<Topology> = fc
  .record({ cluster: anyText, leader: fc.option(anyText), nodes: fc.array(anyNode, { maxLength: 7 }) })
  .map((changes) => topology(changes));
const anyEvents: fc.Arbitrary<ClusterEvent[]> = fc.array(
  fc.record({
    at: fc.integer(),
    node: anyText,
    kind: fc.constantFrom('started', 'leader-lost'),
    message: anyText,
  }),
  { maxLength: 30 },
);

describe('whatever the cluster says', () => {
  test('no line is wider than the terminal and nothing but colours is an escape sequence', () => {
    fc.assert(
      fc.property(
        fc.option(anyTopology),
        anyEvents,
        fc.integer({ min: 1, max: 140 }),
        fc.integer({ min: 1, max: 40 }),
        fc.boolean(),
        (shown, events, columns, rows, color) => {
          const frame = live({ topology: shown, events, columns, rows, color });
          const status = shown === null ? '' : renderStatus(shown, { columns, color });
          expect(frame.split('\n').length).toBeLessThanOrEqual(rows);
          for (const line of [...frame.split('\n'), ...status.split('\n')]) {
            const plain = line.replace(/\u001b\[[0-9;]*m/g, '');
            expect(plain).not.toMatch(/\p{Cc}/u);
            expect(textWidth(plain)).toBeLessThanOrEqual(columns);
          }
        },
      ),
      { numRuns: 100 },
    );
  }, 30_000);

  test('a plain event is one line', () => {
    expect(renderPlainEvent(clusterEvent({ message: 'two\nlines \u001b[31mred' }))).toBe(
      '2023-11-14T22:13:20.000Z n1 started two lines red',
    );
    fc.assert(
      fc.property(anyEvents, (events) => {
        for (const event of events) expect(renderPlainEvent(event)).not.toMatch(/\p{Cc}/u);
      }),
    );
  });
});

describe('text width', () => {
  test.each([
    ['abc', 3],
    ['日本', 4],
    ['e\u0301', 1],
    ['👩‍👩‍👧', 2],
    ['🇩🇪', 2],
    ['★●○◐✗■·…', 8],
    ['❤\uFE0F', 2],
    [' \uFE0F', 1],
    ['\u200b', 0],
  ])('%s takes %i columns', (text, columns) => {
    expect(textWidth(text)).toBe(columns);
  });

  test('cutting never leaves more than asked for', () => {
    expect(cutText('日本語', 4)).toBe('日…');
    expect(cutText('abc', 3)).toBe('abc');
    fc.assert(
      fc.property(anyText, fc.nat(20), (text, columns) => {
        expect(textWidth(cutText(toPlainText(text), columns))).toBeLessThanOrEqual(columns);
      }),
    );
  });
});

class RecordingOutput implements ScreenOutput {
  readonly isTTY: boolean;
  columns = 80;
  rows = 20;
  written = '';
  resized: (() => void) | null = null;
  constructor(isTTY: boolean) {
    this.isTTY = isTTY;
  }
  write(text: string): boolean {
    this.written += text;
    return true;
  }
  on(_event: 'resize', listener: () => void): void {
    this.resized = listener;
  }
  off(): void {
    this.resized = null;
  }
}

describe('the live screen', () => {
  const state = { topology: mixed, events: [clusterEvent()], links: LINKS, isStarting: false };

  test('on a terminal it repaints in place and gives the cursor back', async () => {
    const output = new RecordingOutput(true);
    const exitListeners = process.listenerCount('exit');
    const screen = createLiveScreen({ output, color: false });
    screen.show(state);
    await vi.waitUntil(() => output.written !== '', { timeout: 5000 });
    const height = output.written.split('\r\n').length;
    expect(output.written).toContain('\u001b[?25l');
    output.written = '';
    screen.close();
    expect(output.written).toContain(`\u001b[${height - 1}A`);
    expect(output.written).not.toContain('\u001b[?1049h');
    expect(output.written.endsWith('\u001b[?25h\r\n')).toBe(true);
    expect(process.listenerCount('exit')).toBe(exitListeners);
    expect(output.resized).toBeNull();
  });

  test('after a resize it starts from a clear screen', async () => {
    const output = new RecordingOutput(true);
    const screen = createLiveScreen({ output, color: false });
    screen.show(state);
    await vi.waitUntil(() => output.written !== '', { timeout: 5000 });
    output.written = '';
    output.columns = 40;
    output.resized?.();
    screen.close();
    expect(output.written.startsWith('\u001b[2J\u001b[H')).toBe(true);
  });

  test('elsewhere it prints each event once', () => {
    const output = new RecordingOutput(false);
    const screen = createLiveScreen({ output, color: false });
    screen.show(state);
    screen.show({ ...state, events: [...state.events, clusterEvent({ node: 'n2' })] });
    screen.close();
    expect(output.written).toBe(
      '2023-11-14T22:13:20.000Z n1 started PostgreSQL started\n2023-11-14T22:13:20.000Z n2 started PostgreSQL started\n',
    );
  });

  test('elsewhere it tells of a start in a line, not each step of each node', () => {
    const output = new RecordingOutput(false);
    const screen = createLiveScreen({ output, color: false });
    const [start, ready] = ['starting n1, n2', 'cluster ready'].map((message) =>
      clusterEvent({ node: 'dev', kind: 'note', message }),
    );
    const steps = ['n1', 'n2'].flatMap((node) =>
      (['started', 'following', 'cloned'] as const).map((kind) => clusterEvent({ node, kind })),
    );
    screen.show({ ...state, events: [start!], isStarting: true });
    screen.show({ ...state, events: [start!, ...steps], isStarting: true });
    screen.show({ ...state, events: [start!, ...steps, ready!] });
    screen.show({ ...state, events: [start!, ...steps, ready!, clusterEvent({ kind: 'stopped' })] });
    screen.close();
    expect(output.written.split('\n').map((line) => line.slice(25))).toEqual([
      'dev starting n1, n2',
      'dev cluster ready',
      'n1 stopped PostgreSQL started',
      '',
    ]);
  });
});
