import { createHash } from 'node:crypto';
import { mkdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { describe, expect, test } from 'vitest';
import type { ConsensusMessage } from '../../src/consensus/acceptor.ts';
import type { AgentVoterSet } from '../../src/coordination/embedded/agent-voters.ts';
import { parseNodeId } from '../../src/model/node.ts';
import { openAcceptorStore } from '../../src/coordination/embedded/acceptor-store.ts';
import { systemClock } from '../../src/clock/system-clock.ts';
import type { DurableAcceptor } from '../../src/coordination/embedded/acceptor-store.ts';
import { accept, peek, useAcceptorFile } from './coordination-acceptor-file.ts';

const file = useAcceptorFile();

describe('acceptor store', () => {
  test('knows after a restart everything it had answered, also when messages came together', async () => {
    const store = await file.open();
    const keys = Array.from({ length: 40 }, (_, index) => `key${index}`);
    await store.handle({ kind: 'prepare', key: '__proto__', ballot: { counter: 9, proposer: 'p' } });
    await Promise.all(keys.map((key, index) => store.handle(accept(key, index + 1))));
    // No close: a killed process does not close either.
    const reopened = await file.open();
    expect(reopened.isNew).toBe(false);
    for (const [index, key] of keys.entries()) {
      expect(await peek(reopened, key)).toMatchObject({
        accepted: { version: index + 1, value: { counter: index + 1 } },
      });
    }
    expect(await peek(reopened, '__proto__')).toMatchObject({ promised: { counter: 9 } });
  });

  test('has the state on disk when the reply arrives', async () => {
    const store = await file.open();
    for (let counter = 1; counter <= 5; counter++) {
      await store.handle(accept('k', counter));
      // In both copies: either of them may be what is left.
      expect((await readFile(file.path, 'utf8')).split(`"version":${counter}`)).toHaveLength(3);
    }
  });

  test('is new once only, even when it never voted', async () => {
    expect((await file.open()).isNew).toBe(true);
    expect((await file.open()).isNew).toBe(false);
  });

  test('does not vote before it is admitted, and then also after a restart', async () => {
    const fresh = (): Promise<DurableAcceptor> =>
      openAcceptorStore({ path: file.path, cluster: 'shop', node: parseNodeId('a'), clock: systemClock });
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
      path: file.path,
      cluster: 'shop',
      node: parseNodeId('a'),
      clock: systemClock,
    });
    expect(store.obstacle).toMatch(/does not vote yet/);
    await store.admit();
    expect(store.obstacle).toBeNull();
    // A folder in its place can neither be written nor replaced, like a file on a broken disk.
    await rm(file.path);
    await mkdir(file.path);
    for (let counter = 1; counter <= 2; counter++) {
      await expect(store.handle(accept('k', counter))).rejects.toThrow();
      expect(store.obstacle).toContain(file.path);
    }
    await rm(file.path, { recursive: true });
    await store.handle(accept('k', 3));
    expect(store.obstacle).toBeNull();
  });

  test('votes when its file is from before voters were admitted and kept two copies', async () => {
    await (await file.open()).handle(accept('k', 1));
    const body = (await readFile(file.path, 'utf8')).split('\n')[1]!.replace('"isAdmitted":true,', '');
    expect(body).not.toContain('isAdmitted');
    await writeFile(file.path, `${createHash('sha256').update(body).digest('hex')}\n${body}\n`);
    expect(await peek(await file.open(), 'k')).toMatchObject({ accepted: { version: 1 } });
  });

  test('tells of each accepted proposal after it is durable', async () => {
    const store = await file.open();
    const accepted: string[] = [];
    store.onAccepted((key) => accepted.push(key));
    await store.handle(accept('k', 2));
    await store.handle(accept('k', 1));
    expect(accepted).toEqual(['k']);
  });

  test('is written in place, and anew when it has outgrown its copies', async () => {
    const store = await file.open();
    const first = await stat(file.path);
    for (let counter = 1; counter <= 20; counter++) await store.handle(accept('k', counter));
    expect(await stat(file.path)).toMatchObject({ ino: first.ino, size: first.size });
    const value = 'x'.repeat(first.size);
    const ballot = { counter: 21, proposer: 'p' };
    await store.handle({ kind: 'accept', key: 'k', ballot, proposal: { version: 21, value } });
    expect((await stat(file.path)).size).toBeGreaterThan(first.size);
    await store.handle(accept('other', 1));
    const reopened = await file.open();
    expect(await peek(reopened, 'k')).toMatchObject({ accepted: { version: 21, value } });
    expect(await peek(reopened, 'other')).toMatchObject({ accepted: { version: 1 } });
  });

  test('survives a crash that left half a next file', async () => {
    const store = await file.open();
    await store.handle(accept('k', 1));
    await writeFile(`${file.path}.next`, 'half a fi');
    const reopened = await file.open();
    expect(await peek(reopened, 'k')).toMatchObject({ accepted: { version: 1 } });
    await reopened.handle(accept('k', 2));
    expect(await peek(await file.open(), 'k')).toMatchObject({ accepted: { version: 2 } });
  });

  test.each([
    ['b', 'shop'],
    ['a', 'warehouse'],
  ])('refuses to be node %s of cluster %s with the file of another', async (node, cluster) => {
    await file.open();
    const before = await readFile(file.path, 'utf8');
    await expect(file.open(node, cluster)).rejects.toMatchObject({ code: 'CONFIG_INVALID' });
    expect(await readFile(file.path, 'utf8')).toBe(before);
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
    const store = await file.open();
    await store.handle(accept('k', 1));
    const before = await peek(store, 'k');
    await expect(store.handle(message as ConsensusMessage)).rejects.toMatchObject({ code: 'CONFIG_INVALID' });
    expect(await peek(store, 'k')).toEqual(before);
  });

  test('answers nothing while writes fail, and has everything once one succeeds', async () => {
    const store = await file.open();
    await store.handle(accept('k', 1));
    await rm(file.folder, { recursive: true });
    const failed = await Promise.allSettled([
      store.handle(accept('k', 2)),
      store.handle(accept('other', 3)),
      peek(store, 'k'),
    ]);
    expect(failed.map(({ status }) => status)).toEqual(['rejected', 'rejected', 'rejected']);
    await expect(peek(store, 'k')).rejects.toMatchObject({ code: 'ENOENT' });
    await expect(store.handle(accept('k', 1))).rejects.toMatchObject({ code: 'ENOENT' });

    await mkdir(file.folder);
    // A question changes nothing, but its answer tells what the failed writes should have kept.
    expect(await peek(store, 'k')).toMatchObject({ accepted: { version: 2 } });
    const reopened = await file.open();
    expect(await peek(reopened, 'k')).toMatchObject({ accepted: { version: 2 } });
    expect(await peek(reopened, 'other')).toMatchObject({ accepted: { version: 3 } });
  });

  test('writes into a new file after a failure, not into what the failed write left', async () => {
    const store = await file.open();
    await store.handle(accept('k', 1));
    await rename(file.path, `${file.path}.aside`);
    const aside = await stat(`${file.path}.aside`);
    await expect(store.handle(accept('k', 2))).rejects.toMatchObject({ code: 'ENOENT' });
    await rename(`${file.path}.aside`, file.path);
    expect(await peek(store, 'k')).toMatchObject({ accepted: { version: 2 } });
    const now = await stat(file.path);
    expect(now.ino).not.toBe(aside.ino);
    await store.handle(accept('k', 3));
    expect((await stat(file.path)).ino).toBe(now.ino);
    expect(await peek(await file.open(), 'k')).toMatchObject({ accepted: { version: 3 } });
  });

  describe('that knows who votes', () => {
    const a = parseNodeId('a');
    const setOf = (epoch: number, acceptor: string | null, name = 'a'): AgentVoterSet => ({
      epoch,
      voters: [{ name: parseNodeId(name), url: 'http://10.0.0.1:7411', acceptor }],
    });
    const openNew = (): Promise<DurableAcceptor> =>
      openAcceptorStore({ path: file.path, cluster: 'shop', node: a, clock: systemClock });

    test('keeps the identity of its file, and another file is another', async () => {
      const { id } = await file.open();
      expect((await file.open()).id).toBe(id);
      await rm(file.path);
      expect((await file.open()).id).not.toBe(id);
    });

    test('has a newer set on disk when the reply arrives, and then answers no older one, also after a restart', async () => {
      const store = await file.open();
      expect(await readFile(file.path, 'utf8')).toContain('"format":2');
      await store.handle(accept('k', 1));
      const set = setOf(2, null);
      await store.handle({ ...accept('k', 2), set });
      expect((await readFile(file.path, 'utf8')).split('"epoch":2')).toHaveLength(3);
      // An older release would forget the set, so it must not read the file.
      expect(await readFile(file.path, 'utf8')).toContain('"format":3');
      for (const known of [store, await file.open()]) {
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
      await rm(file.path);
      const other = await openNew();
      await expect(other.handle({ ...accept('k', 2), set: listed })).rejects.toThrow('does not vote yet');
      // It knows the set all the same, so that it answers nobody who goes by an older one.
      expect((await openNew()).voters).toEqual(listed);
      expect(other.obstacle).toMatch('has lost its vote');
    });

    test('learns of a set that it is not in, and votes no more', async () => {
      const store = await file.open();
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
        const store = await file.open();
        await expect(store.handle({ ...accept('k', 1), set: set as AgentVoterSet })).rejects.toMatchObject({
          code: 'CONFIG_INVALID',
        });
        expect(store.voters).toBeNull();
        expect(await peek(store, 'k')).toMatchObject({ accepted: { version: 0 } });
      },
    );
  });
});
