import { randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import type { Change, TransactionPart } from '../../src/logical/core/change.ts';
import type { Lsn } from '../../src/model/lsn.ts';
import { IncomingReader } from '../../src/multi-leader/apply/incoming.ts';
import { formatPromise, readPromise } from '../../src/multi-leader/own/promises.ts';

describe("a region's promise", () => {
  const key = randomBytes(32);

  it('is read by who has its key', () => {
    expect(readPromise(Buffer.from(formatPromise(1_796_036_163_357_207, key)), key)).toBe(
      1_796_036_163_357_207,
    );
  });

  it('is none when somebody else wrote it, who may call the same function', () => {
    const far = 2_000_000_000_000_000;
    const [code = ''] = formatPromise(1, key).split(' ');
    for (const forged of [`${far}`, ` ${far}`, `${code} ${far}`, formatPromise(far, randomBytes(32)), ''])
      expect(readPromise(Buffer.from(forged), key)).toBeNull();
  });

  it('is none, and stops nobody, when it is larger than a string can be', () => {
    const large = (content: string): Buffer =>
      Object.assign(Buffer.from(content), {
        toString: () => {
          throw new Error('Cannot create a string longer than 0x1fffffe8 characters');
        },
        subarray: (from: number, to?: number) => large(content.slice(from, to)),
      });
    const message = (prefix: string, content: Buffer): Change => ({ kind: 'message', prefix, content });
    const part: TransactionPart = {
      xid: 1,
      commitLsn: 1n as Lsn,
      committedAtMicros: 1n,
      origin: null,
      changes: [message('x', large('a')), message('lockstep.promise', large(`${'a'.repeat(43)} 9`))],
      isFirst: true,
      isLast: true,
      endLsn: 2n as Lsn,
      byteLength: 2,
    };
    const { messages } = new IncomingReader(new Map(), 0).read(part);
    expect(messages.map(({ prefix }) => prefix)).toEqual(['lockstep.promise']);
    for (const { content } of messages) expect(readPromise(content, key)).toBeNull();
  });
});
