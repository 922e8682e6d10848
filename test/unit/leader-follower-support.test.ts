import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
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

describe('support', () => {
  it('lets no suspicion quorum form beside enough supporters', () => {
    for (let members = 2; members <= 9; members++) {
      expect(suspicionQuorum(members) + supportersNeeded(members)).toBeGreaterThan(members - 1);
    }
    expect([1, 2, 3, 4, 5].map(supportersNeeded)).toEqual([0, 0, 1, 1, 2]);
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

  it('suspects only when this node and enough others lost the leader', () => {
    const lost = { memberCount: 5, hasLostLeader: true, othersThatLostLeader: 2 };
    expect(isLeaderSuspected(lost)).toBe(true);
    expect(isLeaderSuspected({ ...lost, othersThatLostLeader: 1 })).toBe(false);
    expect(isLeaderSuspected({ ...lost, othersThatLostLeader: 3, hasLostLeader: false })).toBe(false);
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
