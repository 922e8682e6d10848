import { readFile, writeFile } from 'node:fs/promises';
import { describe, expect, test } from 'vitest';
import type { ConsensusMessage } from '../../src/consensus/acceptor.ts';
import { encodeFile, readCopies } from '../../src/coordination/embedded/acceptor-copies.ts';
import { accept, peek, useAcceptorFile } from './coordination-acceptor-file.ts';

/** What a disk writes as a whole. */
const SECTOR_BYTES = 512;

const file = useAcceptorFile();

describe("damage of an acceptor's file", () => {
  /** A file written in place, so that both copies are of the state after `k` was accepted at `counter`. */
  async function written(counter: number): Promise<Buffer> {
    const store = await file.open();
    await store.handle(accept('k', counter));
    return readFile(file.path);
  }

  async function expectRefused(bytes: Buffer): Promise<void> {
    await writeFile(file.path, bytes);
    await expect(file.open()).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
      message: expect.stringContaining('damaged'),
    });
    expect((await readFile(file.path)).equals(bytes)).toBe(true);
  }

  test('is never told of without the chance that a newer release wrote it, nor with the advice to remove it', async () => {
    const whole = await written(3);
    await writeFile(file.path, `v9 ${whole.toString('latin1')}`);
    const error = (await file.open().catch((caught: unknown) => caught)) as Error;
    expect(error.message).toMatch(/^Run the newest release of Lockstep that this node ever ran/);
    expect(error.message).not.toMatch(/[Rr]emove|delete/);
  });

  test('is not what a format of a newer release is taken for', async () => {
    await written(3);
    const body = JSON.parse(readCopies(await readFile(file.path))?.body ?? '') as Record<string, unknown>;
    const newer = encodeFile(1, JSON.stringify({ ...body, format: 4 })).bytes;
    await writeFile(file.path, newer);
    const error = (await file.open().catch((caught: unknown) => caught)) as Error;
    expect(error.message).toMatch(/^Run a newer release of Lockstep on this node: .* has format 4/);
    expect(error.message).not.toMatch(/[Rr]emove|delete|damaged/);
    expect((await readFile(file.path)).equals(newer)).toBe(true);
  });

  const flipped = (bytes: Buffer, ...places: readonly number[]): Buffer => {
    const copy = Buffer.from(bytes);
    for (const place of places) copy[place]! ^= 1;
    return copy;
  };
  const lengthOf = (whole: Buffer): number => whole.indexOf(0);

  test('of one copy is survived, wherever a byte of it is flipped', { timeout: 60_000 }, async () => {
    const whole = await written(7);
    const [half, length] = [whole.length / 2, lengthOf(whole)];
    for (let at = 0; at < length; at++) {
      for (const place of [at, half + at]) {
        await writeFile(file.path, flipped(whole, place));
        expect(await peek(await file.open(), 'k')).toMatchObject({ accepted: { version: 7 } });
      }
    }
  });

  test('of both is found, and the file is left as it is', { timeout: 60_000 }, async () => {
    const whole = await written(7);
    const [half, length] = [whole.length / 2, lengthOf(whole)];
    for (let at = 0; at < length - 1; at++)
      await expectRefused(flipped(whole, at, half + ((at * 7) % (length - 1))));
  });

  test(
    'by truncation is survived while the first copy is whole, else found',
    { timeout: 60_000 },
    async () => {
      const whole = await written(7);
      const length = lengthOf(whole);
      for (let end = 0; end < length - 1; end++) await expectRefused(whole.subarray(0, end));
      await writeFile(file.path, whole.subarray(0, length));
      expect(await peek(await file.open(), 'k')).toMatchObject({ accepted: { version: 7 } });
    },
  );

  test('by a torn write leaves what was answered before, or what it wrote', { timeout: 60_000 }, async () => {
    const store = await file.open();
    const big = (counter: number): ConsensusMessage => ({
      kind: 'accept',
      key: 'k',
      ballot: { counter, proposer: 'p' },
      proposal: { version: counter, value: String(counter).repeat(2_000) },
    });
    await store.handle(big(7));
    const before = await readFile(file.path);
    await store.handle(big(8));
    const after = await readFile(file.path);
    const [half, sectors] = [after.length / 2, Math.ceil(lengthOf(after) / SECTOR_BYTES)];
    expect(sectors).toBeGreaterThan(4);
    // Any of the sectors of one copy may be on disk: of the first one, then, with that whole, of the second.
    for (const start of [0, half]) {
      for (let written = 0; written < 2 ** sectors; written++) {
        const torn = Buffer.concat([after.subarray(0, start), before.subarray(start)]);
        for (let sector = 0; sector < sectors; sector++) {
          const from = start + sector * SECTOR_BYTES;
          if (written & (1 << sector)) after.copy(torn, from, from, from + SECTOR_BYTES);
        }
        await writeFile(file.path, torn);
        const isWhole = start === half || written === 2 ** sectors - 1;
        expect(await peek(await file.open(), 'k')).toMatchObject({ accepted: { version: isWhole ? 8 : 7 } });
      }
    }
  });
});
