import { tmpdir } from 'node:os';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { recordsOf, Spool } from '../../src/logical/spool/spool.ts';
import { SpoolFullError, StreamedTransactions } from '../../src/logical/spool/streamed-transactions.ts';

type Step =
  | { readonly kind: 'add'; readonly length: number }
  | { readonly kind: 'begin' }
  | { readonly kind: 'release' }
  | { readonly kind: 'roll back' };

const steps = fc.array(
  fc.oneof(
    { weight: 6, arbitrary: fc.record({ kind: fc.constant('add' as const), length: fc.nat(40) }) },
    { weight: 2, arbitrary: fc.constant({ kind: 'begin' as const }) },
    { weight: 1, arbitrary: fc.constant({ kind: 'release' as const }) },
    { weight: 1, arbitrary: fc.constant({ kind: 'roll back' as const }) },
  ),
  { maxLength: 60 },
);

async function readAll(spool: Spool): Promise<string[]> {
  const texts: string[] = [];
  for await (const chunk of spool.read())
    for (const { start, end } of recordsOf(chunk)) texts.push(chunk.buffer.toString('latin1', start, end));
  return texts;
}

describe('what is kept of a transaction in progress', () => {
  it('is what its savepoints have left, whatever fits into memory', async () => {
    await fc.assert(
      fc.asyncProperty(steps, fc.integer({ min: 16, max: 200 }), async (script: readonly Step[], bytes) => {
        let waiting = 0;
        const spool = new Spool(tmpdir(), (more) => (waiting += more), bytes);
        // As PostgreSQL would: the stack of open subtransactions, each with those that were released into it.
        const open: { xids: number[]; from: number }[] = [{ xids: [1], from: 0 }];
        let kept: string[] = [];
        let nextXid = 2;
        for (const [index, step] of script.entries()) {
          const top = open.at(-1);
          if (top === undefined) throw new Error('no transaction');
          if (step.kind === 'add') {
            const message = Buffer.from(`${index}.`.padEnd(step.length, 'x'), 'latin1');
            spool.add(top.xids[0] as number, 0x49, message, 0, message.length);
            kept.push(`I${message.toString('latin1')}`);
          } else if (step.kind === 'begin') open.push({ xids: [nextXid++], from: kept.length });
          else if (open.length > 1) {
            open.pop();
            const parent = open.at(-1);
            if (step.kind === 'release') parent?.xids.push(...top.xids);
            else {
              for (const xid of top.xids.toReversed()) spool.rollBack(xid, 1);
              kept = kept.slice(0, top.from);
            }
          }
        }
        expect(await readAll(spool)).toEqual(kept);
        await spool.close();
        expect(waiting).toBe(0);
      }),
      { numRuns: 200 },
    );
  });

  it.each([16, 4096])(
    'keeps what describes tables, also of what is rolled back (%i bytes)',
    async (bytes) => {
      const spool = new Spool(tmpdir(), () => undefined, bytes);
      const add = (xid: number, kind: string, text: string): void => {
        const message = Buffer.from(text);
        spool.add(xid, kind.charCodeAt(0), message, 0, message.length);
      };
      add(1, 'I', 'row of the transaction');
      add(2, 'R', 'table t');
      add(2, 'I', 'row of the outer savepoint');
      add(3, 'R', 'table u');
      add(3, 'I', 'row of the inner savepoint');
      spool.rollBack(3, 1);
      add(2, 'I', 'another row of the outer savepoint');
      spool.rollBack(2, 1);
      add(1, 'I', 'last row');
      expect(await readAll(spool)).toEqual(['Irow of the transaction', 'Rtable t', 'Rtable u', 'Ilast row']);
      await spool.close();
    },
  );

  it('tells whoever reads it that the disk failed', async () => {
    const spool = new Spool('/nonexistent', () => undefined, 16);
    const message = Buffer.alloc(100);
    for (let turn = 0; turn < 3; turn++) spool.add(1, 0x49, message, 0, 100);
    await expect(readAll(spool)).rejects.toMatchObject({ code: 'ENOENT' });
    await spool.close();
  });

  it('is bounded over all transactions, and counts no more what has ended', async () => {
    const failures: Error[] = [];
    const streamed = new StreamedTransactions({
      folder: tmpdir(),
      maxBytes: 1_000,
      onFull: () => undefined,
      onFailure: (error) => failures.push(error),
    });
    const push = (kind: string, ...parts: (number | Buffer)[]): unknown => {
      const fields = parts.map((part) => {
        if (typeof part !== 'number') return part;
        const field = Buffer.alloc(4);
        field.writeUInt32BE(part);
        return field;
      });
      const message = Buffer.concat([Buffer.from(kind), ...fields]);
      return streamed.push(message, 0, message.length);
    };
    const add = (xid: number, bytes: number): void => {
      push('S', xid, Buffer.from([0]));
      push('I', xid, Buffer.alloc(bytes));
      push('E');
    };
    push('S', 1, Buffer.from([1]));
    expect(streamed.isInStretch).toBe(true);
    push('E');
    expect(streamed.isInStretch).toBe(false);
    add(1, 400);
    add(2, 400);
    push('A', 1, 1);
    add(3, 400);
    const commit = push('c', 2, Buffer.alloc(25));
    add(4, 400);
    expect(failures).toEqual([]);
    add(3, 400);
    expect(failures).toEqual([expect.any(SpoolFullError)]);
    expect(failures[0]).toMatchObject({ code: 'CONFIG_INVALID', retryable: true });
    streamed.close();
    await (commit as { spool: Spool }).spool.close();
  });
});
