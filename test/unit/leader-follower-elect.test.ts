import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { electionQuorum } from '../../src/leader-follower/core/cluster-state.ts';
import { decideElection } from '../../src/leader-follower/core/elect.ts';
import type { FencedPosition } from '../../src/leader-follower/core/elect.ts';
import {
  decideSyncSet,
  formatSynchronousStandbyNames,
  parseSynchronousStandbyNames,
  syncSetForElection,
} from '../../src/leader-follower/core/sync-set.ts';
import type { Lsn } from '../../src/model/lsn.ts';
import { parseNodeId } from '../../src/model/node.ts';
import type { NodeId } from '../../src/model/node.ts';
import { parseTimeline } from '../../src/model/timeline.ts';

const names = ['n1', 'n2', 'n3', 'n4', 'n5'].map(parseNodeId);
const [n1, n2, n3] = names as [NodeId, NodeId, NodeId];
const first = { timeline: parseTimeline(1), ancestors: [] };
const second = {
  timeline: parseTimeline(2),
  ancestors: [{ timeline: parseTimeline(1), forkedAt: 50n as Lsn }],
};

function at(node: NodeId, lsn: number, history: FencedPosition['history'] = first): FencedPosition {
  return { node, history, receivedLsn: BigInt(lsn) as Lsn, newestTimeline: history.timeline };
}

describe('an election', () => {
  const base = {
    self: n2,
    sync: { required: 1, members: [n2, n3] },
    lastHolder: n1,
    timeline: parseTimeline(1),
    announcedTimeline: null,
    neverLead: [],
  };
  it.each([
    ['stands with the newest data', [at(n2, 10), at(n3, 9)], 'stand'],
    ['stands among equals', [at(n2, 10), at(n3, 10)], 'stand'],
    ['yields to newer data', [at(n2, 9), at(n3, 10)], 'yield'],
    ['waits for the other member', [at(n2, 10)], 'wait'],
    ['does not count others for members', [at(n2, 10), at(parseNodeId('n4'), 10)], 'wait'],
    ['needs nobody else when who led last was heard', [at(n2, 10), at(n1, 10)], 'stand'],
    ['yields to who led last when that has more', [at(n2, 10), at(n1, 11)], 'yield'],
    ['yields to a newer timeline at a lower position', [at(n2, 90), at(n3, 60, second)], 'yield'],
    ['waits without its own position', [at(n3, 10)], 'wait'],
  ])('%s', (_, positions, kind) => {
    expect(decideElection({ ...base, positions }).kind).toBe(kind);
  });

  it('keeps a node off the newest timeline out', () => {
    const positions = [at(n2, 90), at(n3, 90)];
    expect(decideElection({ ...base, timeline: parseTimeline(2), positions }).kind).toBe('wait');
  });

  it.each([
    ['nothing was ever synchronous', {}],
    ['a policy gave up waiting for the last follower', { isDegraded: true }],
  ])('lets only who led last lead when %s', (_, how) => {
    const sync = { required: 1, members: [], ...how };
    expect(decideElection({ ...base, sync, positions: [at(n2, 10), at(n3, 10)] })).toEqual({
      kind: 'wait',
      reason: 'no follower is recorded as confirming commits, so only n1 surely has them all and may lead',
    });
    expect(decideElection({ ...base, sync, self: n1, positions: [at(n1, 10)] }).kind).toBe('stand');
  });
});

describe('the number of a timeline', () => {
  const begun = (lsn: number, newestTimeline: number | null): FencedPosition => ({
    ...at(n1, lsn),
    newestTimeline: newestTimeline === null ? null : parseTimeline(newestTimeline),
  });
  const base = {
    self: n2,
    sync: { required: 1, members: [n2, n3] },
    lastHolder: n1,
    timeline: parseTimeline(1),
    announcedTimeline: parseTimeline(2),
    neverLead: [],
  };

  it.each([
    ['is not taken while the last holder may have begun it', [at(n2, 10), at(n3, 10)], 'wait'],
    ['is free when the last holder knows of none', [at(n2, 10), at(n3, 10), begun(10, 1)], 'stand'],
    ['is not when it has begun it and was stopped', [at(n2, 10), at(n3, 10), begun(10, 2)], 'wait'],
    ['is not when it did not say', [at(n2, 10), at(n3, 10), begun(10, null)], 'wait'],
    ['is passed by who followed it there', [at(n2, 60, second), at(n3, 10)], 'stand'],
    [
      'is passed by who has its history file',
      [{ ...at(n2, 10), newestTimeline: parseTimeline(2) }, at(n3, 10)],
      'stand',
    ],
  ])('%s', (_, positions, kind) => {
    expect(decideElection({ ...base, positions }).kind).toBe(kind);
  });

  it('is settled once it is recorded', () => {
    const recorded = { ...base, timeline: parseTimeline(2) };
    const positions = [at(n2, 60, second), at(n3, 60, second)];
    expect(decideElection({ ...recorded, positions }).kind).toBe('stand');
  });

  it('does not hold the last holder up, which counts on from its own', () => {
    expect(decideElection({ ...base, self: n1, positions: [begun(10, 2)] }).kind).toBe('stand');
  });
});

describe('the sync set', () => {
  it('has a quorum that meets every set of acknowledging followers', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 5 }),
        fc.integer({ min: 1, max: 5 }),
        fc.infiniteStream(fc.nat()),
        (size, wanted, dice) => {
          const members = names.slice(0, size);
          const required = Math.min(wanted, size);
          const shuffled = (): NodeId[] => members.toSorted(() => (Number(dice.next().value) % 2) - 0.5);
          const acknowledged = shuffled().slice(0, required);
          const heard = shuffled().slice(0, electionQuorum({ required, members }));
          expect(heard.some((name) => acknowledged.includes(name))).toBe(true);
        },
      ),
    );
  });

  const follower = (
    name: NodeId,
    lsn: number,
    isStreaming = true,
  ): { name: NodeId; isStreaming: boolean; flushLsn: Lsn } => ({
    name,
    isStreaming,
    flushLsn: BigInt(lsn) as Lsn,
  });
  const base = {
    self: n1,
    recorded: { required: 1, members: [n2, n3] },
    active: [n2, n3],
    followers: [follower(n2, 10), follower(n3, 10)],
    isToBeAlone: false,
    recentlyStreaming: [],
    barrierLsn: 10n as Lsn,
  };
  it.each([
    ['stays', {}, 'keep', undefined],
    [
      'records a newcomer before anything counts it',
      { recorded: { required: 1, members: [n2] }, active: [n2] },
      'record',
      [n2, n3],
    ],
    [
      'counts the first followers of a new cluster before anybody could elect them',
      { recorded: { required: 1, members: [] }, active: [] },
      'activate',
      [n2, n3],
    ],
    [
      'but only as many as a commit needs',
      { recorded: { required: 3, members: [] }, active: [] },
      'keep',
      undefined,
    ],
    [
      'and records them once they hold what was acknowledged without them',
      { recorded: { required: 1, members: [] }, followers: [follower(n2, 9), follower(n3, 10)] },
      'record',
      [n2, n3],
    ],
    [
      'not before',
      { recorded: { required: 1, members: [] }, followers: [follower(n2, 9), follower(n3, 9)] },
      'keep',
      undefined,
    ],
    ['then counts it', { active: [n2] }, 'activate', [n2, n3]],
    ['stops counting who left', { followers: [follower(n2, 10)] }, 'activate', [n2]],
    ['not during a hiccup', { followers: [follower(n2, 10)], recentlyStreaming: [n3] }, 'keep', undefined],
    ['never drops the last', { followers: [] }, 'keep', undefined],
    [
      'forgets who left once another passed the barrier',
      { active: [n2], followers: [follower(n2, 10)] },
      'record',
      [n2],
    ],
    ['not before', { active: [n2], followers: [follower(n2, 9)] }, 'keep', undefined],
    [
      'nor while the barrier is unknown',
      { active: [n2], followers: [follower(n2, 10)], barrierLsn: null },
      'keep',
      undefined,
    ],
    [
      'lets a new leader leave it',
      { recorded: { required: 1, members: [n1, n2] }, active: [n2], followers: [follower(n2, 10)] },
      'record',
      [n2],
    ],
  ])('%s', (_, changes, kind, members) => {
    const step = decideSyncSet({ ...base, ...changes });
    expect(step.kind).toBe(kind);
    expect(step.kind === 'keep' ? undefined : step.members).toEqual(members);
  });

  it('drops nobody in an election and never counts more than is recorded', () => {
    expect(syncSetForElection({ required: 1, members: [n2, n3] }, n2, [n1, n3])).toEqual({
      required: 1,
      members: [n2, n3],
    });
    expect(syncSetForElection({ required: 1, members: [n2] }, n2, [n1, n3])).toEqual({
      required: 1,
      members: [n1, n2, n3],
    });
    const none = { required: 1, members: [] };
    expect(syncSetForElection(none, n1, [n2, n3])).toEqual(none);
  });

  it('reads the names it wrote', () => {
    expect(formatSynchronousStandbyNames(1, [n2, n3])).toBe('ANY 1 (n2, n3)');
    expect(parseSynchronousStandbyNames('ANY 1 (n2, n3)')).toEqual([n2, n3]);
    expect(parseSynchronousStandbyNames('')).toEqual([]);
  });
});
