import { describe, expect, it } from 'vitest';
import { plainMerit, UNMEASURED } from '../../src/leader-follower/core/candidate.ts';
import type { Merit } from '../../src/leader-follower/core/candidate.ts';
import { decide } from '../../src/leader-follower/core/decide.ts';
import type { LocalPostgres, View } from '../../src/leader-follower/core/view.ts';
import type { Lsn } from '../../src/model/lsn.ts';
import { parseTerm } from '../../src/model/node.ts';
import { first, follower, leads, n1, n2, n3, peer, stateOf, view, worded } from './decide-views.ts';

const lead: LocalPostgres = { kind: 'leader', history: first, flushLsn: 100n as Lsn };
const held = { kind: 'held', term: parseTerm(3) } as const;
const expired = { isLeaseExpired: true, leaseExpiredForMs: 1, leaderLostForMs: 2_000 };
const empty = {
  register: { version: 0, state: null },
  localSystemIdentifier: null,
  local: { kind: 'absent' } as const,
};
const nobodyHasData = [peer(n2, { hasData: false }), peer(n3, { hasData: false })];

function near(node: Merit['node']): Merit {
  return { ...plainMerit(node), measures: { ...UNMEASURED, peerLatencyMs: 1 } };
}

function far(node: Merit['node']): Merit {
  return { ...plainMerit(node), measures: { ...UNMEASURED, peerLatencyMs: 40 } };
}

/** What a node sees, and what it does. */
const table: readonly (readonly [string, Partial<View>, readonly string[]])[] = [
  [
    'an empty cluster is founded by the first node',
    { ...empty, self: n1, peers: nobodyHasData },
    ['found-cluster'],
  ],
  ['and by no other', { ...empty, peers: nobodyHasData }, []],
  [
    'not while somebody was not heard',
    {
      ...empty,
      self: n1,
      peers: [peer(n2, { hasData: false }), peer(n3, { isReachable: false, hasData: null })],
    },
    [],
  ],
  ['not when somebody has data', { ...empty, self: n1, peers: [peer(n2), peer(n3, { hasData: false })] }, []],
  [
    'data without a register is no new cluster',
    { ...empty, localSystemIdentifier: 'other', local: { kind: 'stopped' } },
    [
      'refuse reason=the data folder holds a cluster that coordination knows nothing of; its files were lost or belong to another cluster',
    ],
  ],
  [
    'data of another cluster is refused',
    { localSystemIdentifier: 'other' },
    [
      'refuse reason=the data folder belongs to another cluster (system identifier other, this cluster has cluster)',
    ],
  ],
  [
    'a node without data is cloned',
    { local: { kind: 'absent' }, localSystemIdentifier: null },
    ['clone from=n1 reason=it has no data yet'],
  ],
  [
    'not from a leader whose lease ran out: another may lead already',
    { ...expired, local: { kind: 'absent' }, localSystemIdentifier: null },
    [],
  ],
  [
    'but not from a leader that is not heard',
    { local: { kind: 'absent' }, localSystemIdentifier: null, peers: [peer(n1, { isReachable: false })] },
    [],
  ],
  [
    'nor from one that leads an older term',
    {
      local: { kind: 'absent' },
      localSystemIdentifier: null,
      peers: [peer(n1, { role: 'leader', term: parseTerm(2) })],
    },
    [],
  ],
  [
    'a stopped node starts (I7)',
    { local: { kind: 'stopped' } },
    ['start reason=a node starts as a follower'],
  ],
  [
    'an expired lease calls for a campaign',
    expired,
    ['campaign ground=expired reason=the lease of n1 ran out'],
  ],
  [
    'but the one with more data goes first',
    { ...expired, peers: [leads, peer(n3, { receivedLsn: 200n as Lsn })] },
    [],
  ],
  [
    'for a while',
    { ...expired, leaseExpiredForMs: 500, peers: [leads, peer(n3, { receivedLsn: 200n as Lsn })] },
    ['campaign ground=expired reason=the lease of n1 ran out'],
  ],
  [
    'a successor goes first',
    {
      ...expired,
      register: { version: 9, state: stateOf({ isReleased: true, successor: n2 }) },
      peers: [leads, peer(n3, { receivedLsn: 200n as Lsn })],
    },
    ['campaign ground=released reason=n1 gave the lease up'],
  ],
  ['among equals the nearer one goes first', { ...expired, merits: [near(n3), far(n2)] }, []],
  [
    'whatever its name',
    { ...expired, merits: [near(n2), far(n3)] },
    ['campaign ground=expired reason=the lease of n1 ran out'],
  ],
  [
    'but newer data goes before merit',
    { ...expired, merits: [near(n3), far(n2)], local: follower({ receivedLsn: 101n as Lsn }) },
    ['campaign ground=expired reason=the lease of n1 ran out'],
  ],
  [
    'a node of priority 0 never campaigns',
    { ...expired, leaseExpiredForMs: 9_000, merits: [{ ...plainMerit(n2), failoverPriority: 0 }] },
    [],
  ],
  [
    'nor is it waited for',
    {
      ...expired,
      merits: [{ ...plainMerit(n3), failoverPriority: 0 }],
      peers: [leads, peer(n3, { receivedLsn: 200n as Lsn })],
    },
    ['campaign ground=expired reason=the lease of n1 ran out'],
  ],
  [
    'nor does it found a cluster: the next one does',
    { ...empty, merits: [{ ...plainMerit(n1), failoverPriority: 0 }], peers: nobodyHasData },
    ['found-cluster'],
  ],
  [
    'who lost several leaderships lately lets others go first',
    { self: n1, local: follower(), peers: [peer(n2), peer(n3)], merits: [{ ...plainMerit(n1), losses: 1 }] },
    [],
  ],
  [
    'but stands when none of them does',
    {
      self: n1,
      local: follower(),
      isLeaseExpired: true,
      leaseExpiredForMs: 5_000,
      peers: [peer(n2), peer(n3)],
      merits: [{ ...plainMerit(n1), losses: 1 }],
    },
    ['campaign ground=led-last reason=led last and no other leads'],
  ],
  [
    'a lease that ran out does not depose a leader that this node still supports',
    { ...expired, leaderLostForMs: 0, local: follower({ following: n1 }) },
    [],
  ],
  [
    'enough members that lost the leader call for a campaign before its lease ends',
    { isLeaderSuspected: true, leaderLostForMs: 1, local: follower({ following: n1 }) },
    ['campaign ground=suspected reason=enough members have lost n1'],
  ],
  [
    'the one with more data goes first then too',
    {
      isLeaderSuspected: true,
      leaderLostForMs: 1,
      peers: [leads, peer(n3, { receivedLsn: 200n as Lsn })],
    },
    [],
  ],
  ['a leader that is not the holder stops', { local: lead }, ['demote reason=n1 leads term 3']],
  [
    'the holder without a lease stops',
    { self: n1, local: lead, peers: [peer(n2), peer(n3)] },
    ['demote reason=it leads without a lease'],
  ],
  ['the holder leads', { self: n1, local: lead, ownLease: held, peers: [peer(n2), peer(n3)] }, ['lead']],
  [
    'the holder promotes',
    { self: n1, local: follower(), ownLease: held, peers: [peer(n2), peer(n3)] },
    ['promote term=3'],
  ],
  [
    'the holder whose PostgreSQL died hands over',
    { self: n1, local: { kind: 'stopped' }, ownLease: held, peers: [peer(n2), peer(n3)] },
    ['release reason=PostgreSQL stopped and a follower can take over'],
  ],
  [
    'the holder whose disk takes no writes hands over',
    {
      self: n1,
      local: { kind: 'silent', isSuspended: false },
      ownLease: held,
      writeFailingForMs: 3_100,
      peers: [peer(n2), peer(n3)],
    },
    ['hand-over reason=no write has reached the disk for 3.1 s inOrder=false'],
  ],
  [
    'a frozen holder waits for support or for the end of its lease',
    { self: n1, local: lead, ownLease: { kind: 'unsupported', term: parseTerm(3) }, peers: [peer(n2)] },
    [],
  ],
  [
    'a holder without support does not promote',
    { self: n1, ownLease: { kind: 'unsupported', term: parseTerm(3) }, peers: [peer(n2)] },
    [],
  ],
  [
    'or starts again when nobody could take over',
    {
      self: n1,
      local: { kind: 'stopped' },
      ownLease: held,
      peers: [peer(n2, { isReachable: false }), peer(n3)],
    },
    ['start reason=PostgreSQL stopped and no follower can take over'],
  ],
  [
    'who led last stands again',
    { self: n1, local: follower(), peers: [peer(n2), peer(n3)] },
    ['campaign ground=led-last reason=led last and no other leads'],
  ],
  [
    'but not while others may take what it gave up',
    {
      self: n1,
      local: follower(),
      ...expired,
      register: { version: 9, state: stateOf({ isReleased: true }) },
      peers: [peer(n2), peer(n3)],
    },
    [],
  ],
  [
    'who led last and has no data waits',
    { self: n1, local: { kind: 'absent' }, localSystemIdentifier: null, peers: [peer(n2), peer(n3)] },
    [],
  ],
  [
    'an interrupted founding goes on',
    {
      self: n1,
      local: { kind: 'absent' },
      localSystemIdentifier: null,
      register: { version: 1, state: { ...stateOf(), systemIdentifier: null } },
      peers: [],
    },
    ['found-cluster'],
  ],
  [
    'without coordination a leader past its lease stops',
    { register: null, local: lead },
    ['demote reason=the lease ran out and coordination cannot be read'],
  ],
  ['and one within it goes on', { register: null, local: lead, ownLease: held }, []],
  ['and a follower waits', { register: null }, []],
  ['a server that does not answer is left alone', { local: { kind: 'silent', isSuspended: false } }, []],
];

describe('decide', () => {
  it.each(table)('%s', (_, changes, actions) => {
    expect(decide(view(changes)).map(worded)).toEqual(actions);
  });
});

describe('a promotion that fails', () => {
  const inSet = stateOf({}, [n1, n2, n3]);
  const elected = {
    self: n1,
    register: { version: 9, state: inSet },
    ownLease: held,
    local: { kind: 'stopped' } as const,
    peers: [peer(n2), peer(n3)],
  };
  const given = {
    ...elected,
    register: { version: 10, state: stateOf({ isReleased: true }, [n1, n2, n3]) },
    ownLease: { kind: 'none' } as const,
    local: follower(),
    failedPromotions: 2,
  };

  it.each([
    [
      'is tried once more',
      { ...elected, failedPromotions: 1 },
      ['start reason=PostgreSQL stopped and no follower can take over'],
    ],
    [
      'twice is left to another node',
      { ...elected, failedPromotions: 2 },
      ['release reason=its promotion failed again'],
    ],
    [
      'is tried on while nobody else is there',
      {
        ...elected,
        failedPromotions: 9,
        peers: [peer(n2, { isReachable: false }), peer(n3, { role: 'unknown' })],
      },
      ['start reason=PostgreSQL stopped and no follower can take over'],
    ],
    ['lets the others go first', given, []],
    [
      'is tried again when none of them did',
      { ...given, leaseExpiredForMs: 5_000 },
      ['campaign ground=led-last reason=led last and no other leads'],
    ],
  ])('%s', (_, changes, actions) => {
    expect(decide(view(changes)).map(worded)).toEqual(actions);
  });
});
