import fc from 'fast-check';
import { randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { decideGrants } from '../../src/multi-leader/core/escrow-rule.ts';
import { formatGrant, readGrant, readHeld } from '../../src/multi-leader/escrow/share-messages.ts';

const parts = fc.array(fc.bigInt({ min: 0n, max: 1_000n }), { minLength: 2, maxLength: 6 });

function othersOf(held: readonly bigint[], own: number): { region: number; held: bigint }[] {
  return held.flatMap((part, region) => (region === own ? [] : [{ region, held: part }]));
}

describe('what a region gives of its part', () => {
  it('goes to those that have less than half of an equal part', () => {
    const others = [
      { region: 1, held: 0n },
      { region: 2, held: 30n },
    ];
    expect(decideGrants(90n, 0n, others)).toEqual([{ to: 1, amount: 40n }]);
    expect(decideGrants(100n, 0n, [])).toEqual([]);
    expect(decideGrants(10n, 10n, [{ region: 1, held: 10n }])).toEqual([]);
  });

  it('is never more than it has above an equal part, nor does it go below the least', () => {
    fc.assert(
      fc.property(parts, fc.bigInt({ min: 0n, max: 20n }), (held, min) => {
        const all = held.map((part) => part + min);
        const given = decideGrants(all[0] ?? 0n, min, othersOf(all, 0)).reduce(
          (sum, { amount }) => sum + amount,
          0n,
        );
        const equal = held.reduce((sum, part) => sum + part, 0n) / BigInt(held.length);
        expect(given === 0n || (held[0] ?? 0n) - given >= equal).toBe(true);
      }),
    );
  });

  /** Each step a region decides by what it heard last, sells, is heard, or gets what is on its way; links are cut at times. */
  it('keeps the sum, whatever is on its way, and leaves nothing that cannot be sold', () => {
    const step = fc.record({
      kind: fc.constantFrom('give', 'sell', 'hear', 'arrive', 'cut', 'heal'),
      region: fc.nat(2),
      other: fc.nat(2),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
        const held = [100n, 0n, 0n];
        const heard = held.map(() => [...held]);
        const under: { from: number; to: number; amount: bigint }[] = [];
        const cut = new Set<string>();
        let sold = 0n;
        const sum = (): bigint =>
          [...held, ...under.map(({ amount }) => amount)].reduce((a, b) => a + b, sold);
        const arrive = (isFree: (from: number, to: number) => boolean): void => {
          for (const grant of under.filter(({ from, to }) => isFree(from, to))) {
            under.splice(under.indexOf(grant), 1);
            held[grant.to] = (held[grant.to] ?? 0n) + grant.amount;
          }
        };
        for (const { kind, region, other } of steps) {
          const link = [region, other].toSorted().join();
          if (kind === 'cut') cut.add(link);
          else if (kind === 'heal') cut.delete(link);
          else if (kind === 'sell' && (held[region] ?? 0n) > 0n) {
            held[region] = (held[region] ?? 0n) - 1n;
            sold++;
          } else if (kind === 'hear' && !cut.has(link)) (heard[region] ?? [])[other] = held[other] ?? 0n;
          else if (kind === 'arrive' && !cut.has(link)) arrive((from, to) => from === other && to === region);
          else if (kind === 'give') {
            for (const { to, amount } of decideGrants(
              held[region] ?? 0n,
              0n,
              othersOf(heard[region] ?? [], region),
            )) {
              held[region] = (held[region] ?? 0n) - amount;
              under.push({ from: region, to, amount });
            }
          }
          expect(sum()).toBe(100n);
          expect(held.every((part) => part >= 0n)).toBe(true);
        }
        arrive(() => true);
        expect(held.reduce((a, b) => a + b, sold)).toBe(100n);
      }),
      { numRuns: 500 },
    );
  });

  it('comes to rest once all have heard each other', () => {
    fc.assert(
      fc.property(parts, (start) => {
        const held = [...start];
        let rounds = 0;
        for (let isMoving = true; isMoving; rounds++) {
          isMoving = false;
          for (const own of held.keys())
            for (const { to, amount } of decideGrants(held[own] ?? 0n, 0n, othersOf(held, own))) {
              held[own] = (held[own] ?? 0n) - amount;
              held[to] = (held[to] ?? 0n) + amount;
              isMoving = true;
            }
          expect(rounds).toBeLessThan(4);
        }
      }),
    );
  });
});

describe('a message that gives a part', () => {
  it('is read by who has its key, and is none when somebody else wrote it', () => {
    const key = randomBytes(32);
    const grant = { table: 'public.stock', key: '\u0000\u0001', column: 'quantity', to: 1, amount: '5' };
    expect(readGrant(Buffer.from(formatGrant(grant, key)), key)).toEqual(grant);
    expect(readGrant(Buffer.from(formatGrant(grant, randomBytes(32))), key)).toBeNull();
    // Nor is it one that says how much is held.
    expect(readHeld(Buffer.from(formatGrant(grant, key)), key)).toBeNull();
  });
});
