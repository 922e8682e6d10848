import { describe, expect, it } from 'vitest';
import { plainMerit } from '../../src/leader-follower/core/candidate.ts';
import type { View } from '../../src/leader-follower/core/view.ts';
import { waitingFor } from '../../src/leader-follower/core/waiting.ts';
import { LongWait } from '../../src/leader-follower/report/long-wait.ts';
import { parseTerm } from '../../src/model/node.ts';
import { follower, leads, n1, n2, n3, peer, stateOf, view } from './decide-views.ts';

const silent1 = peer(n1, { isReachable: false });
const silent3 = peer(n3, { isReachable: false });
const empty = { register: { version: 0, state: null }, local: { kind: 'absent' } } as const;
const isOver = { isLeaseExpired: true, leaseExpiredForMs: 1 };

const table: readonly (readonly [string, Partial<View>, string | null])[] = [
  ['a follower that receives waits for nothing', { local: follower({ isReceiving: true }) }, null],
  [
    'nor does a leader',
    { ownLease: { kind: 'held', term: parseTerm(3) }, peers: [silent1, silent3], register: null },
    null,
  ],
  [
    'a suspended PostgreSQL is to go on',
    { local: { kind: 'silent', isSuspended: true }, peers: [leads, peer(n3)] },
    'let its PostgreSQL go on (kill -CONT): somebody has suspended it',
  ],
  [
    'one that is slow to answer needs nothing',
    { local: { kind: 'silent', isSuspended: false }, peers: [leads, peer(n3)] },
    null,
  ],
  ['nor one that is about to follow', { peers: [leads, peer(n3)] }, null],
  [
    'without a majority it names who is away',
    { register: null, local: { kind: 'stopped' }, peers: [silent1, silent3] },
    'waits for a majority of the votes; start the agents of n1, n3; its PostgreSQL stays stopped',
  ],
  [
    'and says that reads go on',
    { register: null, peers: [silent1, peer(n3)] },
    'waits for a majority of the votes; start the agents of n1; its PostgreSQL answers reads',
  ],
  [
    'a cluster is founded by all',
    { ...empty, peers: [peer(n1), silent3] },
    'waits for every node before the cluster is founded; start the agents of n3',
  ],
  ['which takes a moment when all are there', { ...empty, peers: [peer(n1), peer(n3)] }, null],
  [
    'but not when nobody may lead',
    {
      ...empty,
      peers: [peer(n1), peer(n3)],
      merits: [n1, n2, n3].map((name) => ({ ...plainMerit(name), failoverPriority: 0 })),
    },
    'waits for a voter that may lead; give one a failoverPriority above 0',
  ],
  [
    'a leader that is not supported is frozen',
    { ownLease: { kind: 'unsupported', term: parseTerm(3) }, peers: [silent1, silent3] },
    'leads and must not write: too few members answer it; start the agents of n1, n3',
  ],
  ['a lease that still runs', { peers: [silent1, peer(n3)] }, 'waits until the lease of n1 runs out'],
  ['an election takes a moment', { ...isOver, peers: [silent1, peer(n3)] }, null],
  [
    'a node without data elects nobody by itself',
    { ...isOver, local: { kind: 'absent' }, peers: [silent1, silent3] },
    'waits for a leader to copy; start the agents of n1, n3',
  ],
  [
    'nor do nodes that may not lead',
    {
      ...isOver,
      peers: [silent1, peer(n3)],
      merits: [n2, n3].map((name) => ({ ...plainMerit(name), failoverPriority: 0 })),
    },
    'waits for a node that may lead; start the agents of n1',
  ],
  [
    'a lease that was given up',
    {
      register: { version: 9, state: stateOf({ isReleased: true }) },
      local: { kind: 'absent' },
      peers: [silent1],
    },
    'waits for a leader to copy; start the agents of n1',
  ],
];

describe('what a node waits for', () => {
  it.each(table)('%s', (_, changes, expected) => {
    expect(waitingFor(view(changes))).toBe(expected);
  });
});

describe('a long wait', () => {
  it('is told once, when it lasts, and again when it is another one', () => {
    let nowMs = 0;
    const told: string[] = [];
    const clock = { nowMs: () => nowMs, after: () => () => undefined, sleep: async () => undefined };
    const wait = new LongWait(clock, (text) => told.push(text));
    const see = (text: string | null, untilMs: number): void => {
      for (; nowMs < untilMs; nowMs += 500) wait.see(text);
    };
    see('for n1', 4_000);
    see(null, 4_500);
    expect(told).toEqual([]);
    see('for n1', 20_000);
    expect(told).toEqual(['for n1']);
    see('for n2', 30_000);
    expect(told).toEqual(['for n1', 'for n2']);
  });
});
