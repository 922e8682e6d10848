import { describe, expect, it } from 'vitest';
import { decide } from '../../src/leader-follower/core/decide.ts';
import type { View } from '../../src/leader-follower/core/view.ts';
import type { Lsn } from '../../src/model/lsn.ts';
import { parseTerm } from '../../src/model/node.ts';
import { comes, first, follower, n1, n3, peer, second, view, worded } from './decide-views.ts';

/** What a follower sees of its leader, and what it does. */
const table: readonly (readonly [string, Partial<View>, readonly string[]])[] = [
  ['a follower of nobody follows the leader', {}, ['follow leader=n1 term=3']],
  ['not before a newer version than it was fenced at', { fencedAtVersion: 9 }, []],
  ['not before its own end is known', { local: follower({ endLsn: null }) }, []],
  ['it leaves whoever led before', { local: follower({ following: n3, endLsn: null }) }, ['detach']],
  [
    'it stays with the leader, and keeps slots for the day it leads',
    { local: follower({ following: n1, isReceiving: true, endLsn: null }) },
    ['keep-slots'],
  ],
  [
    'it restarts when its settings are too low for the log of the leader',
    { local: follower({ following: n1, isReceiving: true, endLsn: null, tooLowSettings: 'few' }) },
    ["restart reason=the leader's log needs higher settings: few"],
  ],
  [
    'not while there is no leader to come back to, for a restart may take its time',
    {
      local: follower({ following: n1, endLsn: null, tooLowSettings: 'few' }),
      peers: [peer(n1, { isReachable: false }), peer(n3)],
    },
    [],
  ],
  [
    'it attaches to a winner that is not promoted yet',
    { peers: [comes(100n), peer(n3)] },
    ['follow leader=n1 term=3'],
  ],
  ['but not with more than the winner holds', { peers: [comes(99n), peer(n3)] }, []],
  ['nor while it cannot tell what it holds', { local: follower({ endLsn: null }), peers: [comes(100n)] }, []],
  ['nor on another history', { local: follower({ history: second }), peers: [comes(100n), peer(n3)] }, []],
  [
    'on a timeline that the winner left further on it does',
    { peers: [peer(n1, { promotesFrom: { history: second, receivedLsn: 200n as Lsn } }), peer(n3)] },
    ['follow leader=n1 term=3'],
  ],
  [
    'on one that the winner left before, it waits for its promotion',
    {
      local: follower({ endLsn: 150n as Lsn }),
      peers: [peer(n1, { promotesFrom: { history: second, receivedLsn: 200n as Lsn } }), peer(n3)],
    },
    [],
  ],
  ['nor to the winner of an older term', { peers: [comes(100n, { term: parseTerm(2) }), peer(n3)] }, []],
  ['nor to one that is no more heard', { peers: [comes(100n, { isReachable: false }), peer(n3)] }, []],
  ['nor at the version at which it fenced', { fencedAtVersion: 9, peers: [comes(100n), peer(n3)] }, []],
  [
    'nor to one that does not hold the register',
    { peers: [peer(n1), peer(n3, { promotesFrom: { history: first, receivedLsn: 100n as Lsn } })] },
    [],
  ],
  [
    'it stays with a winner however long its promotion takes',
    { local: follower({ following: n1, stalledForMs: 31_000 }), peers: [comes(100n), peer(n3)] },
    [],
  ],
  [
    'and lets another leader go only for a promoted one',
    { local: follower({ following: n3 }), peers: [comes(100n), peer(n3)] },
    [],
  ],
  ['it goes on trying for a while', { local: follower({ following: n1, stalledForMs: 2_000 }) }, []],
  [
    'it is cloned when it cannot stream for long',
    { local: follower({ following: n1, stalledForMs: 31_000 }) },
    ['clone from=n1 reason=the leader no longer has the log that it needs'],
  ],
  [
    'it goes on trying with a part of a record past the fork, which the leader overwrites',
    {
      local: follower({ following: n1, receivedLsn: 101n as Lsn, endLsn: null }),
      peers: [peer(n1, { role: 'leader', history: second })],
    },
    [],
  ],
  [
    'it lets a leader go that left its history while it slept',
    {
      local: follower({
        following: n1,
        receivedLsn: 101n as Lsn,
        replayedLsn: 101n as Lsn,
        endLsn: null,
      }),
      peers: [peer(n1, { role: 'leader', history: second })],
    },
    ['detach'],
  ],
  [
    'it follows across a fork that it has not passed',
    { peers: [peer(n1, { role: 'leader', history: second })] },
    ['follow leader=n1 term=3'],
  ],
  [
    'it is rewound when it passed the fork',
    { local: follower({ endLsn: 101n as Lsn }), peers: [peer(n1, { role: 'leader', history: second })] },
    ["rewind from=n1 reason=its timeline 1 ends at 0/65, past the leader's fork to timeline 2"],
  ],
  [
    'it is cloned when that failed',
    {
      hasRewindFailed: true,
      local: follower({ endLsn: 101n as Lsn }),
      peers: [peer(n1, { role: 'leader', history: second })],
    },
    ["clone from=n1 reason=its timeline 1 ends at 0/65, past the leader's fork to timeline 2"],
  ],
  [
    'it is cloned where there is no pg_rewind',
    {
      canRewind: false,
      local: follower({ endLsn: 101n as Lsn }),
      peers: [peer(n1, { role: 'leader', history: second })],
    },
    ["clone from=n1 reason=its timeline 1 ends at 0/65, past the leader's fork to timeline 2"],
  ],
];

describe('decide, as a follower', () => {
  it.each(table)('%s', (_, changes, actions) => {
    expect(decide(view(changes)).map(worded)).toEqual(actions);
  });
});
