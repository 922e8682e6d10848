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
import { VirtualTime } from '../../src/testing/simulation/virtual-time.ts';

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

/** What is answered after so long on a clock that is driven to the end of the race. */
function answers(): {
  readonly time: VirtualTime;
  after(ms: number, value: string): Promise<string>;
  failsAfter(ms: number, why: string): Promise<string>;
  of(race: Promise<string>): Promise<string>;
} {
  const time = new VirtualTime();
  return {
    time,
    after: (ms, value) => new Promise((resolve) => void time.after(ms, () => resolve(value))),
    failsAfter: (ms, why) => new Promise((_, reject) => void time.after(ms, () => reject(new Error(why)))),
    of: async (race) => {
      let isSettled = false;
      const settled = (): void => void (isSettled = true);
      race.then(settled, settled);
      await time.settleUntil(time.nowMs() + 1000, () => isSettled);
      return race;
    },
  };
}

describe('raceHedged', () => {
  const never = new Promise<string>(() => undefined);
  const noSecond = (): null => {
    throw new Error('A second one was sent.');
  };

  it('sends nothing twice that is answered in time', async () => {
    const { time, after, failsAfter, of } = answers();
    expect(await of(raceHedged(time, after(49, 'first'), 50, noSecond))).toBe('first');
    await expect(of(raceHedged(time, failsAfter(49, 'no'), 50, noSecond))).rejects.toThrow('no');
  });

  it('takes the answer that comes first', async () => {
    const { time, after, of } = answers();
    expect(await of(raceHedged(time, never, 1, () => Promise.resolve('second')))).toBe('second');
    expect(await of(raceHedged(time, after(5, 'first'), 1, () => never))).toBe('first');
    expect(await of(raceHedged(time, after(5, 'first'), 1, () => null))).toBe('first');
  });

  it('waits for the other when one fails', async () => {
    const { time, after, failsAfter, of } = answers();
    const late = raceHedged(time, after(10, 'late'), 1, () => Promise.reject(new Error('no')));
    expect(await of(late)).toBe('late');
    expect(await of(raceHedged(time, failsAfter(5, 'first'), 1, () => after(10, 'late')))).toBe('late');
  });

  it('says what the first one said when both fail', async () => {
    const { time, failsAfter, of } = answers();
    const second = (ms: number) => (): Promise<string> => failsAfter(ms, 'second');
    await expect(of(raceHedged(time, failsAfter(9, 'first'), 1, second(1)))).rejects.toThrow('first');
    await expect(of(raceHedged(time, failsAfter(5, 'first'), 1, second(9)))).rejects.toThrow('first');
  });
});

describe('Hedger', () => {
  it('stops sending copies when all reads are late', async () => {
    const { time, after } = answers();
    const hedger = new Hedger(0, time);
    let copies = 0;
    const reads = Array.from({ length: 100 }, () =>
      hedger.race(after(20, 'late'), () => {
        copies += 1;
        return Promise.resolve('copy');
      }),
    );
    await time.settleUntil(1000);
    const all = await Promise.all(reads);
    expect(all.filter((answer) => answer === 'copy')).toHaveLength(copies);
    expect(copies).toBeGreaterThan(0);
    expect(copies).toBeLessThanOrEqual(6);
  });

  it('charges nothing for a copy that no follower could take', async () => {
    const { time, after, of } = answers();
    const hedger = new Hedger(1, time);
    expect(await of(hedger.race(after(10, 'late'), () => null))).toBe('late');
    expect(await of(hedger.race(after(30, 'late'), () => Promise.resolve('copy')))).toBe('copy');
  });
});
