import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { bigintArray, textArray } from '../../src/leaderless/nodes/arrays.ts';

/** Reads an array as PostgreSQL's `array_recv` does, and refuses what that refuses. */
function readArray(bytes: Buffer): { oid: number; elements: (Buffer | null)[] } {
  const dimensions = bytes.readInt32BE(0);
  const hasNull = bytes.readInt32BE(4) === 1;
  const oid = bytes.readUInt32BE(8);
  if (dimensions === 0) {
    expect(bytes).toHaveLength(12);
    return { oid, elements: [] };
  }
  expect([dimensions, bytes.readInt32BE(16)]).toEqual([1, 1]);
  let at = 20;
  const elements = Array.from({ length: bytes.readInt32BE(12) }, () => {
    const length = bytes.readInt32BE(at);
    at += 4 + Math.max(0, length);
    return length < 0 ? null : bytes.subarray(at - length, at);
  });
  expect(at).toBe(bytes.length);
  expect(elements.includes(null)).toBe(hasNull);
  return { oid, elements };
}

describe('arrays as parameters', () => {
  it('hold every text, also none, empty ones, long ones and those beyond ASCII', () => {
    const text = fc.oneof(fc.string({ unit: 'grapheme' }), fc.string({ minLength: 250, maxLength: 400 }));
    fc.assert(
      fc.property(fc.array(fc.option(text)), (texts) => {
        const { oid, elements } = readArray(textArray(texts));
        expect(oid).toBe(25);
        expect(elements.map((element) => element?.toString() ?? null)).toEqual(texts);
      }),
    );
  });

  it('hold every whole number below 2^53', () => {
    fc.assert(
      fc.property(fc.array(fc.option(fc.maxSafeNat())), (numbers) => {
        const { oid, elements } = readArray(bigintArray(numbers));
        expect(oid).toBe(20);
        expect(
          elements.map((element) => (element === null ? null : Number(element.readBigInt64BE()))),
        ).toEqual(numbers);
      }),
    );
  });
});
