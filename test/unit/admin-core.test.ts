import fc from 'fast-check';
import { describe, expect, test } from 'vitest';

import { parseAgentMessage } from '../../src/admin/core/agent-message.ts';
import { toErrorAnswer } from '../../src/admin/core/error-answer.ts';
import { isLoopbackHost, parseBearer } from '../../src/admin/core/guard.ts';
import { createOutbox } from '../../src/admin/core/outbox.ts';
import { takeSample, walBytesPerSecond } from '../../src/admin/core/sample.ts';
import { createHistory } from '../../src/admin/history.ts';
import { formatBytes, formatDuration, formatRate } from '../../src/admin/page/format.js';
import { headline } from '../../src/admin/page/headline.js';
import { chooseScale } from '../../src/admin/page/scale.js';
import { LockstepError } from '../../src/model/errors.ts';
import { clusterEvent, node, topology } from './admin-fixtures.ts';

describe('parseAgentMessage', () => {
  test('takes what fits the model', () => {
    const sent = topology();
    expect(parseAgentMessage({ event: 'topology', data: JSON.stringify(sent) })).toEqual({
      kind: 'topology',
      topology: sent,
    });
    const event = clusterEvent();
    expect(parseAgentMessage({ event: 'event', data: JSON.stringify(event) })).toEqual({
      kind: 'event',
      event,
    });
  });

  test.each([
    ['not JSON', 'topology', '{'],
    ['another name', 'ping', '{}'],
    ['a missing field', 'topology', JSON.stringify({ ...topology(), nodes: undefined })],
    [
      'an LSN that is none',
      'topology',
      JSON.stringify(topology({ nodes: [node('n1', { receivedLsn: 'x' })] })),
    ],
    ['an unknown kind of event', 'event', JSON.stringify({ ...clusterEvent(), kind: 'party' })],
  ])('refuses %s', (_, event, data) => {
    expect(parseAgentMessage({ event, data })).toBeNull();
  });
});

describe('samples', () => {
  test('only a running follower has a lag', () => {
    const sample = takeSample(
      topology({
        nodes: [
          node('n1', { role: 'leader' }),
          node('n2', { lagMs: 7, lagBytes: 70 }),
          node('n3', { state: 'rejoining', lagMs: 9 }),
        ],
      }),
      5,
    );
    expect(sample.nodes).toEqual({
      n1: { lagBytes: null, lagMs: null },
      n2: { lagBytes: 70, lagMs: 7 },
      n3: { lagBytes: null, lagMs: null },
    });
    expect(sample.leaderLsn).toBe('0/3000060');
  });

  test('the write rate is null wherever the difference means nothing', () => {
    const base = { at: 0, term: 1, leader: 'n1', timeline: 1, leaderLsn: '0/1000', nodes: {} };
    const later = { ...base, at: 500, leaderLsn: '0/1800' };
    expect(walBytesPerSecond(base, later)).toBe(4096);
    expect(walBytesPerSecond({ ...base, leaderLsn: 'FF/0' }, { ...later, leaderLsn: '100/0' })).toBe(2 ** 33);
    expect(walBytesPerSecond(undefined, later)).toBeNull();
    expect(walBytesPerSecond({ ...base, timeline: 2 }, later)).toBeNull();
    expect(walBytesPerSecond({ ...base, leader: 'n2' }, later)).toBeNull();
    expect(walBytesPerSecond({ ...base, leaderLsn: null }, later)).toBeNull();
    expect(walBytesPerSecond({ ...base, leaderLsn: '0/2000' }, later)).toBeNull();
    expect(walBytesPerSecond({ ...base, at: 500 }, later)).toBeNull();
  });

  test('the history forgets the oldest and measures the rate on one timeline only', () => {
    const history = createHistory(3);
    const at = (lsn: string, timeline = 1) =>
      topology({ timeline, nodes: [node('n1', { role: 'leader', receivedLsn: lsn })] });
    history.record(at('0/0'), 0);
    history.record(at('0/400'), 1000);
    history.record(at('0/800'), 2000);
    history.record(at('0/10', 2), 3000);
    history.record(at('0/410', 2), 4000);
    expect(history.samples().map((sample) => [sample.at, sample.walBytesPerSecond])).toEqual([
      [2000, 1024],
      [3000, null],
      [4000, 1024],
    ]);
  });
});

describe('guards', () => {
  test.each(['localhost', 'localhost:7400', '127.0.0.1:7400', '[::1]:7400', '127.1.2.3'])(
    '%s is this machine',
    (host) => {
      expect(isLoopbackHost(host)).toBe(true);
    },
  );
  test.each([
    undefined,
    '',
    'evil.example',
    'localhost.evil.example',
    '127.0.0.1.evil.example:80',
    '10.0.0.1',
    'a@localhost',
  ])('%s is not', (host) => {
    expect(isLoopbackHost(host)).toBe(false);
  });
  test('only the Bearer form brings a token', () => {
    expect(parseBearer('Bearer abc')).toBe('abc');
    expect(parseBearer('Basic abc')).toBeNull();
    expect(parseBearer('Bearer ')).toBeNull();
    expect(parseBearer(undefined)).toBeNull();
  });
});

test('errors keep their code and outcome; PostgreSQL errors keep their SQLSTATE', () => {
  const known = new LockstepError('QUORUM_NOT_REACHED', 'No majority.', { outcome: 'unknown' });
  expect(toErrorAnswer(known)).toEqual({
    status: 503,
    body: { code: 'QUORUM_NOT_REACHED', message: 'No majority.', outcome: 'unknown' },
  });
  expect(toErrorAnswer(Object.assign(new Error('denied'), { code: '42501' })).body.code).toBe('42501');
  expect(toErrorAnswer(new TypeError('x')).body).toEqual({
    code: 'INVARIANT',
    message: 'x',
    outcome: 'unknown',
  });
});

test('a slow reader keeps the newest topology and never more than the limit', () => {
  const outbox = createOutbox(3);
  for (const data of ['1', '2']) outbox.put({ event: 'topology', data });
  for (const data of ['a', 'b', 'c']) outbox.put({ event: 'event', data });
  outbox.put({ event: 'topology', data: '3' });
  expect(outbox.take().map((message) => message.data)).toEqual(['b', 'c', '3']);
  expect(outbox.take()).toEqual([]);
});

test.each([
  [0, '0 B'],
  [999, '999 B'],
  [1000, '0.98 kB'],
  [1536, '1.5 kB'],
  [256 * 1024, '256 kB'],
  [5 * 1024 ** 3, '5 GB'],
  [null, '–'],
])('%s bytes are %s', (bytes, text) => {
  expect(formatBytes(bytes)).toBe(text);
  expect(formatRate(bytes)).toBe(bytes === null ? '–' : `${text}/s`);
});

test.each([
  [0, '0 ms'],
  [999.4, '999 ms'],
  [1500, '1.5 s'],
  [59_000, '59.0 s'],
  [120_000, '2 min'],
  [7_200_000, '2 h'],
  [null, '–'],
])('%s milliseconds are %s', (milliseconds, text) => {
  expect(formatDuration(milliseconds)).toBe(text);
});

describe('the headline says the worst thing first', () => {
  const dead = node('n1', { role: 'unknown', state: 'unreachable' });
  test.each([
    ['nothing known', null, 'idle', 'Waiting for the agents'],
    ['all well', topology(), 'good', 'In step'],
    [
      'all gone',
      topology({ leader: null, nodes: [dead, { ...dead, name: 'n2' }] }),
      'bad',
      'No agent answers',
    ],
    [
      'election',
      topology({ leader: null, nodes: [dead, node('n2'), node('n3')] }),
      'warn',
      'Electing a leader',
    ],
    [
      'nobody to elect',
      topology({
        leader: null,
        nodes: [dead, node('n2', { state: 'stopped' }), node('n3', { state: 'stopped' })],
      }),
      'bad',
      'No leader',
    ],
    [
      'too few votes',
      topology({ leader: null, nodes: [dead, { ...dead, name: 'n2' }, node('n3')] }),
      'bad',
      'No majority',
    ],
    [
      'enough nodes, but not of those that vote',
      topology({
        leader: null,
        nodes: [dead, { ...dead, name: 'n2' }, node('n3'), node('n4', { voter: false })],
      }),
      'bad',
      'No majority',
    ],
    [
      'all stream, and yet nobody could take over',
      topology({ isFailoverReady: false, failoverObstacle: 'n2 cannot vote (no file)' }),
      'warn',
      'n1 leads, no failover possible',
    ],
    ['one node', topology({ nodes: [node('n1', { role: 'leader' })] }), 'warn', 'n1 leads alone'],
    ['dead leader', topology({ nodes: [dead, node('n2')] }), 'bad', 'n1 leads but does not answer'],
    [
      'promotion',
      topology({ leader: 'n2', nodes: [dead, node('n2', { role: 'leader', state: 'starting' })] }),
      'warn',
      'n2 is taking over',
    ],
    [
      'a follower away',
      topology({ leader: 'n2', nodes: [dead, node('n2', { role: 'leader' }), node('n3')] }),
      'warn',
      'n2 leads, n1 is away',
    ],
    [
      'no synchronous follower',
      topology({ nodes: [node('n1', { role: 'leader' }), node('n2', { sync: false })] }),
      'warn',
      'n1 leads alone',
    ],
    [
      'a policy that degraded',
      topology({
        syncPolicy: { followers: 'all', degradeAfterMs: 1_000, isDegraded: true, confirmedBy: 1 },
        nodes: [node('n1', { role: 'leader' }), node('n2'), node('n3', { sync: false })],
      }),
      'warn',
      'n1 leads, commits wait for 1 only',
    ],
    [
      'a policy that degraded to nobody',
      topology({
        syncPolicy: { followers: 1, degradeAfterMs: 1_000, isDegraded: true, confirmedBy: 0 },
        nodes: [node('n1', { role: 'leader' }), node('n2', { sync: false })],
      }),
      'warn',
      'n1 leads, commits wait for nobody',
    ],
    [
      'a follower on its way',
      topology({ nodes: [node('n1', { role: 'leader' }), node('n2'), node('n3', { state: 'rejoining' })] }),
      'warn',
      'n1 leads, n3 is coming back',
    ],
  ] as const)('%s', (_, shown, tone, title) => {
    expect(headline(shown, 'n1')).toMatchObject({ tone, title });
  });
});

test('nobody waits for a delayed node to lead', () => {
  const dead = node('n1', { state: 'unreachable' });
  const nodes = [dead, node('n2'), node('n3'), node('n4', { kind: 'delayed', voter: false })];
  expect(headline(topology({ leader: null, nodes }), 'n1').detail).toMatch(/Candidates: n2, n3\.$/);
});

test('a headline says that commits wait in vain', () => {
  const policy = { followers: 'all', degradeAfterMs: null, isDegraded: false, confirmedBy: 0 } as const;
  const shown = { ...topology(), syncPolicy: { ...policy, waitsFor: ['n2', 'n3'] } };
  expect(headline(shown, null)).toMatchObject({
    tone: 'bad',
    title: 'n1 leads, commits wait for n2, n3',
  });
});

test('a headline does not call a follower in step that hangs', () => {
  const nodes = [node('n1', { role: 'leader', sync: false }), node('n2'), node('n3', { lagMs: 60_000 })];
  expect(headline(topology({ nodes }), null)).toMatchObject({
    tone: 'warn',
    title: 'n1 leads, n3 is far behind',
  });
});

test('a headline does not count on a follower whose PostgreSQL is suspended, and tells what helps', () => {
  const suspended = {
    role: 'unknown',
    receivedLsn: null,
    detail: 'let its PostgreSQL go on (kill -CONT)',
  } as const;
  const [leader, ...followers] = topology().nodes;
  const nodes = [leader!, followers[0]!, { ...followers[1]!, ...suspended }];
  expect(headline(topology({ nodes }), null)).toEqual({
    tone: 'warn',
    title: 'n1 leads, n3 does not answer',
    detail: 'n3: let its PostgreSQL go on (kill -CONT)',
  });
  const alone = [leader!, { ...followers[0]!, ...suspended }];
  expect(headline(topology({ nodes: alone }), null).detail).toContain('No synchronous follower is running');
  const witness = node('w1', { kind: 'witness', role: 'unknown', receivedLsn: null, sync: false });
  expect(headline(topology({ nodes: [...topology().nodes, witness] }), null).tone).toBe('good');
});

test('a headline names what a failover lacks', () => {
  const obstacle = '1 of the 2 votes that an election needs: n3 does not answer';
  const away = topology({
    isFailoverReady: false,
    failoverObstacle: obstacle,
    nodes: [
      node('n1', { role: 'leader' }),
      node('n2'),
      node('n3', { role: 'unknown', state: 'unreachable', sync: false }),
    ],
  });
  expect(headline(away, null).detail).toContain(obstacle);
});

describe('the top of a chart', () => {
  test('is a little above the highest value', () => {
    expect(chooseScale([[100, 120, null], [80]], 10)).toEqual({ top: 138, peak: null });
    expect(chooseScale([[], [null]], 10)).toEqual({ top: 10, peak: null });
  });

  test('cuts off the peak of one node that came back, and names it', () => {
    const calm = Array.from({ length: 100 }, () => 5);
    const { top, peak } = chooseScale([[...calm, 90_000, 5, 5], calm], 10);
    expect(peak).toBe(90_000);
    expect(top).toBe(20);
  });

  test('always holds the newest values', () => {
    fc.assert(
      fc.property(fc.array(fc.array(fc.nat(100_000), { minLength: 1 }), { minLength: 1 }), (lines) => {
        const { top, peak } = chooseScale(lines, 10);
        for (const line of lines) expect(line.at(-1)).toBeLessThanOrEqual(top);
        if (peak === null) expect(Math.max(...lines.flat())).toBeLessThanOrEqual(top);
      }),
    );
  });
});
