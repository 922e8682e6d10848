/**
 * Arrays as parameters in PostgreSQL's binary format: a text for each would be escaped here, and parsed there, one by one. Source:
 * PostgreSQL, `array_send` in arrayfuncs.c.
 */

const TEXT = 25;
const INT8 = 20;
const HEADER_BYTES = 20;
/** UTF-8 takes at most three bytes for each unit of a JavaScript string. */
const MAX_BYTES_PER_UNIT = 3;
/** Longer texts are measured first, so that no memory is taken that is not needed. */
const SHORT_UNITS = 256;
const TWO_TO_32 = 2 ** 32;

/** A `text[]`. */
export function textArray(texts: readonly (string | null)[]): Buffer {
  let most = HEADER_BYTES;
  for (const text of texts) most += 4 + (text === null ? 0 : mostBytesOf(text));
  const bytes = Buffer.allocUnsafe(most);
  let end = writeHeader(bytes, TEXT, texts.length);
  let hasNull = 0;
  for (const text of texts) {
    if (text === null) {
      hasNull = 1;
      end = bytes.writeInt32BE(-1, end);
      continue;
    }
    const length = bytes.write(text, end + 4);
    bytes.writeInt32BE(length, end);
    end += 4 + length;
  }
  bytes.writeInt32BE(hasNull, 4);
  return bytes.subarray(0, end);
}

/** As {@link textArray}; a text that is the same for all stands there once, as the functions in schema.ts take it. */
export function textColumn(texts: readonly string[]): Buffer {
  const [first] = texts;
  return textArray(first !== undefined && texts.every((text) => text === first) ? [first] : texts);
}

/** As {@link bigintArray}; a number that is the same for all stands there once. */
export function bigintColumn(numbers: readonly number[]): Buffer {
  const [first] = numbers;
  return bigintArray(first !== undefined && numbers.every((number) => number === first) ? [first] : numbers);
}

function mostBytesOf(text: string): number {
  return text.length > SHORT_UNITS ? Buffer.byteLength(text) : text.length * MAX_BYTES_PER_UNIT;
}

/** A `bigint[]` of whole numbers from 0 to below 2^53. */
export function bigintArray(numbers: readonly (number | null)[]): Buffer {
  const bytes = Buffer.allocUnsafe(HEADER_BYTES + 12 * numbers.length);
  let end = writeHeader(bytes, INT8, numbers.length);
  let hasNull = 0;
  for (const number of numbers) {
    if (number === null) {
      hasNull = 1;
      end = bytes.writeInt32BE(-1, end);
      continue;
    }
    end = bytes.writeInt32BE(8, end);
    end = bytes.writeUInt32BE(Math.floor(number / TWO_TO_32), end);
    end = bytes.writeUInt32BE(number % TWO_TO_32, end);
  }
  bytes.writeInt32BE(hasNull, 4);
  return bytes.subarray(0, end);
}

/** One dimension, counted from 1; none for an empty array. */
function writeHeader(bytes: Buffer, elementOid: number, count: number): number {
  bytes.writeInt32BE(count === 0 ? 0 : 1, 0);
  bytes.writeInt32BE(0, 4);
  bytes.writeUInt32BE(elementOid, 8);
  if (count === 0) return 12;
  bytes.writeInt32BE(count, 12);
  bytes.writeInt32BE(1, 16);
  return HEADER_BYTES;
}
