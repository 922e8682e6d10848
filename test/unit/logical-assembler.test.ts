import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Assembler } from '../../src/logical/core/assembler.ts';
import type { TransactionPart } from '../../src/logical/core/change.ts';

const text = (value: string): Buffer => {
  const bytes = Buffer.from(value);
  const head = Buffer.alloc(5);
  head[0] = 0x74;
  head.writeUInt32BE(bytes.length, 1);
  return Buffer.concat([head, bytes]);
};
const int16 = (value: number): Buffer => Buffer.from([value >> 8, value & 0xff]);
const int32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32BE(value);
  return bytes;
};
const int64 = (value: bigint): Buffer => {
  const bytes = Buffer.alloc(8);
  bytes.writeBigInt64BE(value);
  return bytes;
};
const tuple = (...fields: readonly Buffer[]): Buffer => Buffer.concat([int16(fields.length), ...fields]);
const begin = Buffer.concat([Buffer.from('B'), int64(100n), int64(5n), int32(7)]);
const commit = Buffer.concat([Buffer.from('C\0'), int64(100n), int64(120n), int64(5n)]);
const relation = Buffer.concat([
  Buffer.from('R'),
  int32(1),
  Buffer.from('public\0t\0d'),
  int16(2),
  Buffer.from('\x01id\0'),
  int32(23),
  int32(-1),
  Buffer.from('\0note\0'),
  int32(25),
  int32(-1),
]);
const insert = (id: string, note: string): Buffer =>
  Buffer.concat([Buffer.from('I'), int32(1), Buffer.from('N'), tuple(text(id), text(note))]);
const origin = Buffer.concat([Buffer.from('O'), int64(9n), Buffer.from('away\0')]);

function run(messages: readonly Buffer[], options: Partial<ConstructorParameters<typeof Assembler>[0]> = {}) {
  const assembler = new Assembler({
    parseText: (_oid, value) => value,
    partBytes: 1_000_000,
    dropsForeignOrigins: false,
    ...options,
  });
  const parts: TransactionPart[] = [];
  for (const message of messages) {
    const part = assembler.push(message, 0, message.length);
    if (part !== null) parts.push(part);
  }
  return { parts, assembler };
}

describe('transactions out of messages', () => {
  it('pass over messages with a prefix longer than anybody means', () => {
    const message = (prefix: string): Buffer =>
      Buffer.concat([
        Buffer.from('M\x01'),
        int64(9n),
        Buffer.from(`${prefix}\0`),
        int32(2),
        Buffer.from('hi'),
      ]);
    const { parts } = run([begin, message('a'.repeat(65_537)), message('short'), commit]);
    expect(parts.flatMap(({ changes }) => changes)).toEqual([
      { kind: 'message', prefix: 'short', content: Buffer.from('hi') },
    ]);
  });

  it('are whole when they commit', () => {
    const { parts, assembler } = run([begin, relation, insert('1', 'a'), insert('2', 'b'), commit]);
    expect(parts).toMatchObject([
      {
        xid: 7,
        commitLsn: 100n,
        endLsn: 120n,
        isFirst: true,
        isLast: true,
        committedAtMicros: 946684800000005n,
      },
    ]);
    expect(parts[0]?.changes.map((change) => 'row' in change && change.row())).toEqual([
      { id: '1', note: 'a' },
      { id: '2', note: 'b' },
    ]);
    expect(assembler.isInTransaction).toBe(false);
  });

  it('come in parts when they are large', () => {
    const { parts } = run([begin, relation, insert('1', 'a'), insert('2', 'b'), insert('3', 'c'), commit], {
      partBytes: 40,
    });
    expect(parts.map(({ changes, isFirst, isLast }) => [changes.length, isFirst, isLast])).toEqual([
      [2, true, false],
      [1, false, true],
    ]);
  });

  it('are known to be large from their first part to their end', () => {
    const { assembler } = run([begin, relation, insert('1', 'a')], { partBytes: 40 });
    expect(assembler.isInLarge).toBe(false);
    const more = insert('2', 'b'.repeat(40));
    expect(assembler.push(more, 0, more.length)?.isLast).toBe(false);
    expect(assembler.isInLarge).toBe(true);
    assembler.push(commit, 0, commit.length);
    expect(assembler.isInLarge).toBe(false);
  });

  it('keep one description of a table that is described again', () => {
    const { parts } = run([begin, relation, insert('1', 'a'), relation, insert('2', 'b'), commit]);
    const [first, second] = parts[0]?.changes ?? [];
    expect(first !== undefined && 'relation' in first && second !== undefined && 'relation' in second).toBe(
      true,
    );
    expect((first as { relation: object }).relation).toBe((second as { relation: object }).relation);
  });

  it('of an applier are left out if asked', () => {
    const messages = [begin, origin, relation, insert('1', 'a'), commit, begin, insert('2', 'b'), commit];
    expect(run(messages).parts.map((part) => part.origin?.name ?? null)).toEqual(['away', null]);
    const { parts, assembler } = run(messages, { dropsForeignOrigins: true });
    expect(parts.map((part) => part.origin)).toEqual([null]);
    expect(assembler.isInTransaction).toBe(false);
  });

  it('never come out of garbage: it is refused', () => {
    const messages = [begin, relation, insert('1', 'a'), commit];
    fc.assert(
      fc.property(fc.nat(3), fc.nat(60), fc.nat(255), (which, at, value) => {
        const broken = messages.map((message) => Buffer.from(message));
        const victim = broken[which] as Buffer;
        victim[at % victim.length] = value;
        try {
          for (const { changes } of run(broken).parts)
            for (const change of changes) if ('row' in change) change.row();
        } catch (error) {
          expect(error).toBeInstanceOf(RangeError);
        }
      }),
    );
  });
});
