import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  countRead,
  hedgeDelayMs,
  NO_HEDGES,
  recordAnswer,
  spendHedge,
} from '../../src/client/route/core/hedge.ts';
import type { HedgeState } from '../../src/client/route/core/hedge.ts';
import { Hedger, raceHedged } from '../../src/client/route/hedge.ts';

describe('the share of copies', () => {
  it('is a twentieth, after ten saved ones', () => {
    let state: HedgeState = NO_HEDGES;
    let copies = 0;
    for (let read = 0; read < 10_000; read += 1) {
      state = countRead(state);
      const spent = spendHedge(state);
      if (spent === null) continue;
      copies += 1;
      state = spent;
    }
    expect(copies).toBeGreaterThan(480);
    expect(copies).toBeLessThanOrEqual(511);
  });

  it('never exceeds its bound, whenever copies are wanted', () => {
    fc.assert(
      fc.property(fc.array(fc.boolean(), { maxLength: 2000 }), (wants) => {
        let state: HedgeState = NO_HEDGES;
        let copies = 0;
        for (const isWanted of wants) {
          state = countRead(state);
          const spent = isWanted ? spendHedge(state) : null;
          if (spent === null) continue;
          copies += 1;
          state = spent;
        }
        expect(copies).toBeLessThanOrEqual(wants.length * 0.05 + 10);
      }),
    );
  });
});

describe('the delay', () => {
  it('is the given one, or unknown before the first answer', () => {
    expect(hedgeDelayMs(NO_HEDGES, 30)).toBe(30);
    expect(hedgeDelayMs(NO_HEDGES, 'p95')).toBeNull();
  });

  it('settles near the time that 95% of answers keep', () => {
    let state: HedgeState = NO_HEDGES;
    for (let read = 0; read < 20_000; read += 1) {
      // 0 to 100 ms, evenly, in a scattered order.
      state = recordAnswer(state, (read * 7919) % 100);
    }
    expect(hedgeDelayMs(state, 'p95')).toBeGreaterThan(80);
    expect(hedgeDelayMs(state, 'p95')).toBeLessThan(110);
  });
});

describe('raceHedged', () => {
  const never = new Promise<string>(() => undefined);
  const noSecond = (): null => {
    throw new Error('A second one was sent.');
  };

  it('sends nothing twice that is answered in time', async () => {
    expect(await raceHedged(Promise.resolve('first'), 50, noSecond)).toBe('first');
    await expect(raceHedged(Promise.reject(new Error('no')), 50, noSecond)).rejects.toThrow('no');
  });

  it('takes the answer that comes first', async () => {
    expect(await raceHedged(never, 1, () => Promise.resolve('second'))).toBe('second');
    const first = new Promise<string>((resolve) => setTimeout(resolve, 5, 'first'));
    expect(await raceHedged(first, 1, () => never)).toBe('first');
    expect(await raceHedged(first, 1, () => null)).toBe('first');
  });

  it('waits for the other when one fails', async () => {
    const late = new Promise<string>((resolve) => setTimeout(resolve, 10, 'late'));
    expect(await raceHedged(late, 1, () => Promise.reject(new Error('no')))).toBe('late');
    const failing = new Promise<string>((_, reject) => setTimeout(reject, 5, new Error('first')));
    expect(await raceHedged(failing, 1, () => late)).toBe('late');
  });

  it('says what the first one said when both fail', async () => {
    const failing = (name: string, ms: number): Promise<string> =>
      new Promise((_, reject) => setTimeout(() => reject(new Error(name)), ms));
    await expect(raceHedged(failing('first', 9), 1, () => failing('second', 1))).rejects.toThrow('first');
    await expect(raceHedged(failing('first', 5), 1, () => failing('second', 9))).rejects.toThrow('first');
  });
});

describe('Hedger', () => {
  it('stops sending copies when all reads are late', async () => {
    const hedger = new Hedger(0);
    let copies = 0;
    const reads = Array.from({ length: 100 }, () => {
      const late = new Promise<string>((resolve) => setTimeout(resolve, 20, 'late'));
      return hedger.race(late, () => {
        copies += 1;
        return Promise.resolve('copy');
      });
    });
    const answers = await Promise.all(reads);
    expect(answers.filter((answer) => answer === 'copy')).toHaveLength(copies);
    expect(copies).toBeGreaterThan(0);
    expect(copies).toBeLessThanOrEqual(6);
  });

  it('charges nothing for a copy that no follower could take', async () => {
    const hedger = new Hedger(1);
    const late = new Promise<string>((resolve) => setTimeout(resolve, 10, 'late'));
    expect(await hedger.race(late, () => null)).toBe('late');
    const later = new Promise<string>((resolve) => setTimeout(resolve, 30, 'late'));
    expect(await hedger.race(later, () => Promise.resolve('copy'))).toBe('copy');
  });
});
