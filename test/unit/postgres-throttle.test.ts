import { describe, expect, it } from 'vitest';
import { Throttle } from '../../src/postgres/copy/throttle.ts';

const MB = 1_048_576;

/** Takes pieces until so many bytes are through, and tells how long that took; each piece takes `pieceMs` itself. */
async function timeOf(bytes: number, megabytesPerSecond: number, pieceMs: number): Promise<number> {
  let nowMs = 1_000;
  const clock = {
    nowMs: () => nowMs,
    sleep: async (ms: number) => void (nowMs += ms),
  };
  const throttle = new Throttle(megabytesPerSecond * MB, clock);
  for (let done = 0; done < bytes; done += 65_536) {
    nowMs += pieceMs;
    await throttle.take(65_536);
  }
  return nowMs - 1_000;
}

describe('a copy', () => {
  it('takes its time past the first 128 MB', async () => {
    expect(await timeOf(128 * MB, 10, 0)).toBe(0);
    const ms = await timeOf(228 * MB, 10, 0);
    expect(ms).toBeGreaterThan(9_900);
    expect(ms).toBeLessThanOrEqual(10_000);
  });

  it('is not held back where it is slower anyway, nor without a limit', async () => {
    expect(await timeOf(256 * MB, 64, 2)).toBe((256 * MB * 2) / 65_536);
    expect(await timeOf(256 * MB, Number.POSITIVE_INFINITY, 0)).toBe(0);
  });
});
