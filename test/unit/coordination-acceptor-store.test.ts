import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { ConsensusMessage, ConsensusReply } from '../../src/consensus/acceptor.ts';
import type { AgentVoterSet } from '../../src/coordination/embedded/agent-voters.ts';
import { parseNodeId } from '../../src/model/node.ts';
import { encodeFile, readCopies } from '../../src/coordination/embedded/acceptor-copies.ts';
import { openAcceptorStore } from '../../src/coordination/embedded/acceptor-store.ts';
import { systemClock } from '../../src/clock/system-clock.ts';
import type { DurableAcceptor } from '../../src/coordination/embedded/acceptor-store.ts';

/** What a disk writes as a whole. */
const SECTOR_BYTES = 512;

let folder: string;
let path: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'lockstep-acceptor-'));
  path = join(folder, 'consensus.json');
});

afterEach(async () => {
  await rm(folder, { recursive: true, force: true });
});

async function open(node = 'a', cluster = 'shop'): Promise<DurableAcceptor> {
  const store = await openAcceptorStore({ path, cluster, node: parseNodeId(node), clock: systemClock });
  if (store.isNew) await store.admit();
  return store;
}

function accept(key: string, counter: number): ConsensusMessage {
  return {
    kind: 'accept',
    key,
    ballot: { counter, proposer: 'p' },
    proposal: { version: counter, value: { counter } },
  };
}

function peek(store: DurableAcceptor, key: string): Promise<ConsensusReply> {
  return store.handle({ kind: 'peek', key });
}

describe('acceptor store', () => {
  test('knows after a restart everything it had answered, also when messages came together', async () => {
    const store = await open();
    const keys = Array.from({ length: 40 }, (_, index) => `key${index}`);
    await store.handle({ kind: 'prepare', key: '__proto__', ballot: { counter: 9, proposer: 'p' } });
    await Promise.all(keys.map((key, index) => store.handle(accept(key, index + 1))));
    // No close: a killed process does not close either.
    const reopened = await open();
    expect(reopened.isNew).toBe(false);
    for (const [index, key] of keys.entries()) {
      expect(await peek(reopened, key)).toMatchObject({
        accepted: { version: index + 1, value: { counter: index + 1 } },
      });
    }
    expect(await peek(reopened, '__proto__')).toMatchObject({ promised: { counter: 9 } });
  });

  test('has the state on disk when the reply arrives', async () => {
    const store = await open();
    for (let counter = 1; counter <= 5; counter++) {
      await store.handle(accept('k', counter));
      // In both copies: either of them may be what is left.
      expect((await readFile(path, 'utf8')).split(`"version":${counter}`)).toHaveLength(3);
    }
  });

  test('is new once only, even when it never voted', async () => {
    expect((await open()).isNew).toBe(true);
    expect((await open()).isNew).toBe(false);
  });

  test('does not vote before it is admitted, and then also after a restart', async () => {
    const fresh = (): Promise<DurableAcceptor> =>
      openAcceptorStore({ path, cluster: 'shop', node: parseNodeId('a'), clock: systemClock });
    for (let start = 0; start < 2; start++) {
      const store = await fresh();
      await expect(peek(store, 'k')).rejects.toThrow('does not vote yet');
      await expect(store.handle(accept('k', 1))).rejects.toThrow('does not vote yet');
      expect(store.standing).toEqual({ isAdmitted: false, hasWritten: false });
    }
    await (await fresh()).admit();
    const store = await fresh();
    await store.handle({ kind: 'prepare', key: 'k', ballot: { counter: 1, proposer: 'p' } });
    expect(store.standing).toEqual({ isAdmitted: true, hasWritten: false });
    await store.handle(accept('k', 1));
    expect((await fresh()).standing).toEqual({ isAdmitted: true, hasWritten: true });
  });

  test('tells why it answers nothing: not admitted, or no room on its disk', async () => {
    const store = await openAcceptorStore({
      path,
      cluster: 'shop',
      node: parseNodeId('a'),
      clock: systemClock,
    });
    expect(store.obstacle).toMatch(/does not vote yet/);
    await store.admit();
    expect(store.obstacle).toBeNull();
    // A folder in its place can neither be written nor replaced, like a file on a broken disk.
    await rm(path);
    await mkdir(path);
    for (let counter = 1; counter <= 2; counter++) {
      await expect(store.handle(accept('k', counter))).rejects.toThrow();
      expect(store.obstacle).toContain(path);
    }
    await rm(path, { recursive: true });
    await store.handle(accept('k', 3));
    expect(store.obstacle).toBeNull();
  });

  test('votes when its file is from before voters were admitted and kept two copies', async () => {
    await (await open()).handle(accept('k', 1));
    const body = (await readFile(path, 'utf8')).split('\n')[1]!.replace('"isAdmitted":true,', '');
    expect(body).not.toContain('isAdmitted');
    await writeFile(path, `${createHash('sha256').update(body).digest('hex')}\n${body}\n`);
    expect(await peek(await open(), 'k')).toMatchObject({ accepted: { version: 1 } });
  });

  test('tells of each accepted proposal after it is durable', async () => {
    const store = await open();
    const accepted: string[] = [];
    store.onAccepted((key) => accepted.push(key));
    await store.handle(accept('k', 2));
    await store.handle(accept('k', 1));
    expect(accepted).toEqual(['k']);
  });

  describe('damage', () => {
    /** A file written in place, so that both copies are of the state after `k` was accepted at `counter`. */
    async function written(counter: number): Promise<Buffer> {
      const store = await open();
      await store.handle(accept('k', counter));
      return readFile(path);
    }

    async function expectRefused(bytes: Buffer): Promise<void> {
      await writeFile(path, bytes);
      await expect(open()).rejects.toMatchObject({
        code: 'CONFIG_INVALID',
        message: expect.stringContaining('damaged'),
      });
      expect((await readFile(path)).equals(bytes)).toBe(true);
    }

    test('is never told of without the chance that a newer release wrote it, nor with the advice to remove it', async () => {
      const whole = await written(3);
      await writeFile(path, `v9 ${whole.toString('latin1')}`);
      const error = (await open().catch((caught: unknown) => caught)) as Error;
      expect(error.message).toMatch(/^Run the newest release of Lockstep that this node ever ran/);
      expect(error.message).not.toMatch(/[Rr]emove|delete/);
    });

    test('is not what a format of a newer release is taken for', async () => {
      await written(3);
      const body = JSON.parse(readCopies(await readFile(path))?.body ?? '') as Record<string, unknown>;
      const newer = encodeFile(1, JSON.stringify({ ...body, format: 4 })).bytes;
      await writeFile(path, newer);
      const error = (await open().catch((caught: unknown) => caught)) as Error;
      expect(error.message).toMatch(/^Run a newer release of Lockstep on this node: .* has format 4/);
      expect(error.message).not.toMatch(/[Rr]emove|delete|damaged/);
      expect((await readFile(path)).equals(newer)).toBe(true);
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
          await writeFile(path, flipped(whole, place));
          expect(await peek(await open(), 'k')).toMatchObject({ accepted: { version: 7 } });
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
        await writeFile(path, whole.subarray(0, length));
        expect(await peek(await open(), 'k')).toMatchObject({ accepted: { version: 7 } });
      },
    );

    test(
      'by a torn write leaves what was answered before, or what it wrote',
      { timeout: 60_000 },
      async () => {
        const store = await open();
        const big = (counter: number): ConsensusMessage => ({
          kind: 'accept',
          key: 'k',
          ballot: { counter, proposer: 'p' },
          proposal: { version: counter, value: String(counter).repeat(2_000) },
        });
        await store.handle(big(7));
        const before = await readFile(path);
        await store.handle(big(8));
        const after = await readFile(path);
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
            await writeFile(path, torn);
            const isWhole = start === half || written === 2 ** sectors - 1;
            expect(await peek(await open(), 'k')).toMatchObject({ accepted: { version: isWhole ? 8 : 7 } });
          }
        }
      },
    );
  });

  test('is written in place, and anew when it has outgrown its copies', async () => {
    const store = await open();
    const first = await stat(path);
    for (let counter = 1; counter <= 20; counter++) await store.handle(accept('k', counter));
    expect(await stat(path)).toMatchObject({ ino: first.ino, size: first.size });
    const value = 'x'.repeat(first.size);
    const ballot = { counter: 21, proposer: 'p' };
    await store.handle({ kind: 'accept', key: 'k', ballot, proposal: { version: 21, value } });
    expect((await stat(path)).size).toBeGreaterThan(first.size);
    await store.handle(accept('other', 1));
    const reopened = await open();
    expect(await peek(reopened, 'k')).toMatchObject({ accepted: { version: 21, value } });
    expect(await peek(reopened, 'other')).toMatchObject({ accepted: { version: 1 } });
  });

  test('survives a crash that left half a next file', async () => {
    const store = await open();
    await store.handle(accept('k', 1));
    await writeFile(`${path}.next`, 'half a fi');
    const reopened = await open();
    expect(await peek(reopened, 'k')).toMatchObject({ accepted: { version: 1 } });
    await reopened.handle(accept('k', 2));
    expect(await peek(await open(), 'k')).toMatchObject({ accepted: { version: 2 } });
  });

  test.each([
    ['b', 'shop'],
    ['a', 'warehouse'],
  ])('refuses to be node %s of cluster %s with the file of another', async (node, cluster) => {
    await open();
    const before = await readFile(path, 'utf8');
    await expect(open(node, cluster)).rejects.toMatchObject({ code: 'CONFIG_INVALID' });
    expect(await readFile(path, 'utf8')).toBe(before);
  });

  test.each([
    null,
    'prepare',
    {},
    { kind: 'erase', key: 'k', ballot: { counter: 1, proposer: 'p' } },
    { kind: 'prepare', key: 'k' },
    { kind: 'prepare', key: 'k', ballot: null },
    { kind: 'prepare', key: 'k', ballot: { counter: 1e300, proposer: 'p' } },
    { kind: 'prepare', key: 'k', ballot: { counter: '7', proposer: 'p' } },
    { kind: 'accept', key: 'k', ballot: { counter: 7, proposer: 'p' } },
    { kind: 'accept', key: 'k', ballot: { counter: 7, proposer: 'p' }, proposal: { version: -1 } },
  ])('refuses %j and keeps what it has', async (message) => {
    const store = await open();
    await store.handle(accept('k', 1));
    const before = await peek(store, 'k');
    await expect(store.handle(message as ConsensusMessage)).rejects.toMatchObject({ code: 'CONFIG_INVALID' });
    expect(await peek(store, 'k')).toEqual(before);
  });

  test('answers nothing while writes fail, and has everything once one succeeds', async () => {
    const store = await open();
    await store.handle(accept('k', 1));
    await rm(folder, { recursive: true });
    const failed = await Promise.allSettled([
      store.handle(accept('k', 2)),
      store.handle(accept('other', 3)),
      peek(store, 'k'),
    ]);
    expect(failed.map(({ status }) => status)).toEqual(['rejected', 'rejected', 'rejected']);
    await expect(peek(store, 'k')).rejects.toMatchObject({ code: 'ENOENT' });
    await expect(store.handle(accept('k', 1))).rejects.toMatchObject({ code: 'ENOENT' });

    await mkdir(folder);
    // A question changes nothing, but its answer tells what the failed writes should have kept.
    expect(await peek(store, 'k')).toMatchObject({ accepted: { version: 2 } });
    const reopened = await open();
    expect(await peek(reopened, 'k')).toMatchObject({ accepted: { version: 2 } });
    expect(await peek(reopened, 'other')).toMatchObject({ accepted: { version: 3 } });
  });

  test('writes into a new file after a failure, not into what the failed write left', async () => {
    const store = await open();
    await store.handle(accept('k', 1));
    await rename(path, `${path}.aside`);
    const aside = await stat(`${path}.aside`);
    await expect(store.handle(accept('k', 2))).rejects.toMatchObject({ code: 'ENOENT' });
    await rename(`${path}.aside`, path);
    expect(await peek(store, 'k')).toMatchObject({ accepted: { version: 2 } });
    const now = await stat(path);
    expect(now.ino).not.toBe(aside.ino);
    await store.handle(accept('k', 3));
    expect((await stat(path)).ino).toBe(now.ino);
    expect(await peek(await open(), 'k')).toMatchObject({ accepted: { version: 3 } });
  });

  describe('that knows who votes', () => {
    const a = parseNodeId('a');
    const setOf = (epoch: number, acceptor: string | null, name = 'a'): AgentVoterSet => ({
      epoch,
      voters: [{ name: parseNodeId(name), url: 'http://10.0.0.1:7411', acceptor }],
    });
    const openNew = (): Promise<DurableAcceptor> =>
      openAcceptorStore({ path, cluster: 'shop', node: a, clock: systemClock });

    test('keeps the identity of its file, and another file is another', async () => {
      const { id } = await open();
      expect((await open()).id).toBe(id);
      await rm(path);
      expect((await open()).id).not.toBe(id);
    });

    test('has a newer set on disk when the reply arrives, and then answers no older one, also after a restart', async () => {
      const store = await open();
      expect(await readFile(path, 'utf8')).toContain('"format":2');
      await store.handle(accept('k', 1));
      const set = setOf(2, null);
      await store.handle({ ...accept('k', 2), set });
      expect((await readFile(path, 'utf8')).split('"epoch":2')).toHaveLength(3);
      // An older release would forget the set, so it must not read the file.
      expect(await readFile(path, 'utf8')).toContain('"format":3');
      for (const known of [store, await open()]) {
        const outdated = { kind: 'outdated', set };
        expect(await known.handle(accept('k', 9))).toEqual(outdated);
        expect(await known.handle({ ...accept('k', 9), set: setOf(1, null) })).toEqual(outdated);
        expect(await known.handle({ kind: 'peek', key: 'k', set })).toMatchObject({
          accepted: { version: 2 },
        });
        expect(known.voters).toEqual(set);
      }
    });

    test('votes by the file that is listed, and by no other', async () => {
      const store = await openNew();
      const listed = setOf(3, store.id);
      expect(store.standing.isAdmitted).toBe(false);
      expect(await store.handle({ ...accept('k', 1), set: listed })).toEqual({ kind: 'accepted' });
      expect(store.standing.isAdmitted).toBe(true);
      expect(store.obstacle).toBeNull();
      await rm(path);
      const other = await openNew();
      await expect(other.handle({ ...accept('k', 2), set: listed })).rejects.toThrow('does not vote yet');
      // It knows the set all the same, so that it answers nobody who goes by an older one.
      expect((await openNew()).voters).toEqual(listed);
      expect(other.obstacle).toMatch('has lost its vote');
    });

    test('learns of a set that it is not in, and votes no more', async () => {
      const store = await open();
      await store.learn(setOf(1, null, 'b'));
      await store.learn(setOf(1, null, 'c'));
      expect(store.voters).toEqual(setOf(1, null, 'b'));
      expect(store.standing.isAdmitted).toBe(false);
      await expect(store.handle({ ...accept('k', 1), set: setOf(1, null, 'b') })).rejects.toThrow();
      expect(await store.handle(accept('k', 1))).toMatchObject({ kind: 'outdated' });
    });

    test.each([null, {}, { epoch: -1, voters: [] }, { epoch: 1, voters: [{ name: 'a' }] }])(
      'refuses %o as a set, and changes nothing',
      async (set) => {
        const store = await open();
        await expect(store.handle({ ...accept('k', 1), set: set as AgentVoterSet })).rejects.toMatchObject({
          code: 'CONFIG_INVALID',
        });
        expect(store.voters).toBeNull();
        expect(await peek(store, 'k')).toMatchObject({ accepted: { version: 0 } });
      },
    );
  });
});
