import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, open as openFile, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { ConsensusMessage, ConsensusReply } from '../../src/consensus/acceptor.ts';
import { openAcceptorStore } from '../../src/coordination/acceptor-store.ts';
import type { DurableAcceptor } from '../../src/coordination/acceptor-store.ts';

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
  const store = await openAcceptorStore({ path, cluster, node });
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
      expect(await readFile(path, 'utf8')).toContain(`"version":${counter}`);
    }
  });

  test('is new once only, even when it never voted', async () => {
    expect((await open()).isNew).toBe(true);
    expect((await open()).isNew).toBe(false);
  });

  test('does not vote before it is admitted, and then also after a restart', async () => {
    const fresh = (): Promise<DurableAcceptor> => openAcceptorStore({ path, cluster: 'shop', node: 'a' });
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
    const store = await openAcceptorStore({ path, cluster: 'shop', node: 'a' });
    expect(store.obstacle).toMatch(/does not vote yet/);
    await store.admit();
    expect(store.obstacle).toBeNull();
    // Where its next file would go, something stands that it cannot remove.
    await mkdir(`${path}.next`);
    await expect(store.handle(accept('k', 1))).rejects.toThrow();
    expect(store.obstacle).toContain('.next');
    await rm(`${path}.next`, { recursive: true });
    await store.handle(accept('k', 2));
    expect(store.obstacle).toBeNull();
  });

  test('votes when its file is from before voters were admitted', async () => {
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

  test(
    'finds every truncation and every flipped byte, and leaves the file as it is',
    { timeout: 30_000 },
    async () => {
      const store = await open();
      await store.handle(accept('k', 1));
      const whole = await readFile(path);
      const end = whole.lastIndexOf(0x0a);
      const damaged = [
        ...Array.from({ length: end }, (_, length) => whole.subarray(0, length)),
        ...Array.from({ length: end }, (_, at) => {
          const copy = Buffer.from(whole);
          copy[at]! ^= 1;
          return copy;
        }),
      ];
      for (const bytes of damaged) {
        await writeFile(path, bytes);
        await expect(open()).rejects.toMatchObject({
          code: 'CONFIG_INVALID',
          message: expect.stringContaining('damaged'),
        });
        expect((await readFile(path)).equals(bytes)).toBe(true);
      }
    },
  );

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
    // A folder in its place can be neither opened nor removed, like a file on a broken disk.
    await mkdir(`${path}.next`);
    await expect(store.handle(accept('k', 2))).rejects.toMatchObject({ code: expect.any(String) });
    expect(await peek(await open(), 'k')).toMatchObject({ accepted: { version: 1 } });
    await rm(`${path}.next`, { recursive: true });
    await writeFile(`${path}.next`, 'half a fi');
    const left = await stat(`${path}.next`);
    const handle = await openFile(`${path}.next`);
    try {
      expect(await peek(store, 'k')).toMatchObject({ accepted: { version: 2 } });
      expect((await stat(path)).ino).not.toBe(left.ino);
    } finally {
      await handle.close();
    }
    expect(await peek(await open(), 'k')).toMatchObject({ accepted: { version: 2 } });
  });
});
