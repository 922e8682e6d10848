import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  fenceRefusal,
  fencesNeeded,
  isLeaderSuspected,
  promiseUntilMs,
  rightDeadlines,
  supportedUntilMs,
  supportersNeeded,
  supportsLeader,
  suspicionQuorum,
} from '../../src/leader-follower/core/support.ts';
import { parseNodeId, parseTerm } from '../../src/model/node.ts';

const n1 = parseNodeId('n1');
const n2 = parseNodeId('n2');

describe('a fence that a candidate asks for', () => {
  const asked = { version: 7, isSuspicion: false, knownVersion: 7, isLeading: false, hasLostLeader: false };
  const suspicion = { ...asked, isSuspicion: true, hasLostLeader: true };
  it.each([
    ['is granted at the version known here', asked, null],
    ['is granted to who knows more', { ...asked, knownVersion: 6 }, null],
    ['is refused to who knows less', { ...asked, knownVersion: 8 }, 'the register is at version 8 already'],
    ['is refused by who leads', { ...asked, isLeading: true }, 'this node leads'],
    ['is granted to a suspicion that this node shares', suspicion, null],
    [
      'is refused to one that it does not',
      { ...suspicion, hasLostLeader: false },
      'the leader was heard here',
    ],
    ['is refused to a suspicion by who leads', { ...suspicion, isLeading: true }, 'this node leads'],
    [
      'is refused to a suspicion of an old version',
      { ...suspicion, knownVersion: 8 },
      'the register is at version 8 already',
    ],
  ])('%s', (_, view, refusal) => {
    expect(fenceRefusal(view)).toBe(refusal);
  });
});

describe('support', () => {
  it('lets no suspicion quorum form beside enough supporters', () => {
    for (let members = 2; members <= 9; members++) {
      expect(suspicionQuorum(members) + supportersNeeded(members)).toBeGreaterThan(members - 1);
    }
    expect([1, 2, 3, 4, 5].map((members) => supportersNeeded(members))).toEqual([0, 0, 1, 1, 2]);
  });

  it('counts from the ping that the last of the needed supporters answered', () => {
    expect(supportedUntilMs([100, 300, 200], 2, 600)).toBe(800);
    expect(supportedUntilMs([100], 2, 600)).toBe(Number.NEGATIVE_INFINITY);
    expect(supportedUntilMs([], 0, 600)).toBe(Number.POSITIVE_INFINITY);
  });

  const view = { term: parseTerm(3), holder: n1, fencedAtVersion: 7 };
  const ping = { holder: n1, term: parseTerm(3), version: 8, supportMs: 600 };
  it.each([
    ['the present leader', ping, true],
    ['a newer leader than the newest seen', { ...ping, holder: n2, term: parseTerm(4) }, true],
    ['a deposed leader', { ...ping, term: parseTerm(2) }, false],
    ['another holder of the same term', { ...ping, holder: n2 }, false],
    ['the leader at a version fenced for a candidate', { ...ping, version: 7 }, false],
  ])('for %s: %o is %s', (_, given, expected) => {
    expect(supportsLeader({ ...view, ping: given })).toBe(expected);
  });

  it('freezes when either half ends, and kills when the lease and the failsafe have', () => {
    const limits = { leaseUntilMs: 2_500, supportedUntilMs: 600, failsafeUntilMs: 500 };
    expect(rightDeadlines(limits)).toEqual({ freezeAtMs: 600, killAtMs: 2_500 });
    expect(rightDeadlines({ ...limits, leaseUntilMs: 300 })).toEqual({ freezeAtMs: 500, killAtMs: 500 });
    expect(rightDeadlines({ ...limits, supportedUntilMs: 9_000, leaseUntilMs: 900 })).toEqual({
      freezeAtMs: 900,
      killAtMs: 900,
    });
  });

  it('has a supporter in each suspicion quorum also where the leader does not vote', () => {
    for (let members = 1; members <= 9; members++) {
      // All members may fence such a leader, so one of its supporters has to be among any quorum of them.
      expect(suspicionQuorum(members) + supportersNeeded(members, false)).toBeGreaterThan(members);
      expect(supportersNeeded(members, false)).toBeLessThanOrEqual(members);
    }
    expect([1, 2, 3, 4, 5].map((members) => supportersNeeded(members, false))).toEqual([1, 1, 2, 2, 3]);
  });

  it.each(['expired', 'suspected'] as const)(
    'never lets a leader write beside whoever deposes it when %s, whoever of them votes',
    (ground) => {
      let taken = 0;
      for (const [members, holder, candidate, letGo] of everyElection()) {
        const voters = Array.from({ length: members }, (_, index) => index);
        const others = voters.filter((voter) => voter !== holder);
        // A candidate has let go itself, or it would not stand.
        const fenced = others.filter((voter) => letGo.includes(voter) || voter === candidate);
        const supporters = others.filter((voter) => !fenced.includes(voter));
        const { quorum, isSuspicion } = fencesNeeded(ground, members, voters.includes(candidate));
        // Asked without suspicion, a member fences although it still supports the leader.
        const mayTake = (isSuspicion ? fenced : others).length >= quorum;
        const isSupported = supporters.length >= supportersNeeded(members, voters.includes(holder));
        // With an expired lease only the failsafe is left, which rests on all of them.
        const mayWrite = isSupported && (ground === 'suspected' || supporters.length === others.length);
        if (mayTake) taken++;
        expect(mayTake && mayWrite).toBe(false);
      }
      expect(taken).toBeGreaterThan(100);
    },
  );

  /** Members, holder, candidate (one past the members does not vote), and the members that let go. */
  function* everyElection(): Generator<readonly [number, number, number, readonly number[]]> {
    for (let members = 1; members <= 5; members++) {
      for (let holder = 0; holder <= members; holder++) {
        for (let candidate = 0; candidate <= members + 1; candidate++) {
          if (candidate === holder) continue;
          for (let mask = 0; mask < 2 ** members; mask++) {
            const all = Array.from({ length: members }, (_, index) => index);
            yield [members, holder, candidate, all.filter((voter) => (mask >> voter) % 2 === 1)];
          }
        }
      }
    }
  }

  it('suspects only when this node and enough others lost the leader', () => {
    const lost = {
      memberCount: 5,
      isMember: true,
      hasLostLeader: true,
      othersThatLostLeader: 2,
      unchangedForMs: 1_000,
    };
    expect(isLeaderSuspected(lost)).toBe(true);
    expect(isLeaderSuspected({ ...lost, othersThatLostLeader: 1 })).toBe(false);
    expect(isLeaderSuspected({ ...lost, othersThatLostLeader: 3, hasLostLeader: false })).toBe(false);
    expect(isLeaderSuspected({ ...lost, isMember: false })).toBe(false);
    expect(isLeaderSuspected({ ...lost, isMember: false, othersThatLostLeader: 3 })).toBe(true);
  });

  it('lets the pings of a leader that has just renewed the register through before it suspects it', () => {
    const lost = { memberCount: 3, isMember: true, hasLostLeader: true, othersThatLostLeader: 1 };
    const pingIntervalMs = 50;
    expect(isLeaderSuspected({ ...lost, unchangedForMs: 2 * pingIntervalMs })).toBe(false);
    // A leader that is gone had renewed it before its members' promises ran out.
    expect(isLeaderSuspected({ ...lost, unchangedForMs: 400 })).toBe(true);
  });

  it('has ended at the leader before a quorum can fence, whatever the delays and drifts', () => {
    const supportMs = 600;
    const rate = fc.double({ min: 0.96, max: 1.04, noNaN: true });
    fc.assert(
      fc.property(
        fc.integer({ min: 3, max: 7 }),
        fc.array(fc.record({ sentAt: fc.nat(5_000), delay: fc.nat(2_000), member: fc.nat(5) }), {
          minLength: 1,
          maxLength: 40,
        }),
        fc.array(rate, { minLength: 7, maxLength: 7 }),
        (members, pings, rates) => {
          // In true time; each clock runs at a rate of its own, rates[0] is the holder's.
          const [holderRate = 1, ...otherRates] = rates;
          const answered = pings.map(({ sentAt, delay, member }) => ({
            member: member % (members - 1),
            sentAt,
            answeredAt: sentAt + delay,
          }));
          const newest = (member: number, key: 'sentAt' | 'answeredAt'): number =>
            Math.max(...answered.filter((one) => one.member === member).map((one) => one[key]));
          const others = Array.from({ length: members - 1 }, (_, member) => member);
          const sent = others.map((member) => newest(member, 'sentAt')).filter(Number.isFinite);
          const endsAt =
            supportedUntilMs(
              sent.map((at) => at * holderRate),
              supportersNeeded(members),
              supportMs,
            ) / holderRate;
          const mayFenceAt = others
            .map((member) => {
              const answeredAt = newest(member, 'answeredAt');
              const memberRate = otherRates[member] ?? 1;
              return Number.isFinite(answeredAt)
                ? promiseUntilMs(answeredAt * memberRate, supportMs) / memberRate
                : 0;
            })
            .toSorted((a, b) => a - b);
          expect(mayFenceAt[suspicionQuorum(members) - 1]).toBeGreaterThanOrEqual(Math.max(0, endsAt));
        },
      ),
    );
  });
});
