import { describe, expect, it } from 'vitest';
import { Flushes } from '../../src/multi-leader/apply/flushes.ts';

/** A flush that ends when it is told to. */
class Work {
  readonly ends: { resolve(): void; reject(error: Error): void }[] = [];
  readonly flushes = new Flushes(() => new Promise((resolve, reject) => this.ends.push({ resolve, reject })));
}

describe('flushes', () => {
  it('are one at a time, and another one can be begun when one is done', async () => {
    const { flushes, ends } = new Work();
    flushes.onDone = () => flushes.begin();
    flushes.begin();
    flushes.begin();
    expect(ends).toHaveLength(1);
    ends[0]?.resolve();
    await flushes.turn();
    expect(ends).toHaveLength(2);
  });

  it('are not begun after one that failed, which is told once and thrown from then on', async () => {
    const { flushes, ends } = new Work();
    let told = 0;
    flushes.onFailure = () => told++;
    flushes.onDone = () => flushes.begin();
    flushes.begin();
    ends[0]?.reject(new Error('no room'));
    await expect(flushes.turn()).rejects.toThrow('no room');
    flushes.begin();
    await expect(flushes.settled()).rejects.toThrow('no room');
    expect([ends.length, told]).toEqual([1, 1]);
  });

  it('are waited for by who closes, with none begun behind them', async () => {
    const { flushes, ends } = new Work();
    flushes.onDone = () => flushes.begin();
    flushes.begin();
    const closed = flushes.close();
    ends[0]?.resolve();
    await closed;
    expect(ends).toHaveLength(1);
  });
});
