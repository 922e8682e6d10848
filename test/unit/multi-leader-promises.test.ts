import { randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { formatPromise, readPromise } from '../../src/multi-leader/own/promises.ts';

describe("a region's promise", () => {
  const key = randomBytes(32);

  it('is read by who has its key', () => {
    expect(readPromise(formatPromise(1_796_036_163_357_207, key), key)).toBe(1_796_036_163_357_207);
  });

  it('is none when somebody else wrote it, who may call the same function', () => {
    const far = 2_000_000_000_000_000;
    const [code = ''] = formatPromise(1, key).split(' ');
    for (const forged of [`${far}`, ` ${far}`, `${code} ${far}`, formatPromise(far, randomBytes(32)), ''])
      expect(readPromise(forged, key)).toBeNull();
  });
});
