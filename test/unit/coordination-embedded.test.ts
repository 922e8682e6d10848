import { describe, expect, test } from 'vitest';
import { VirtualTime } from '../../src/testing/simulation/virtual-time.ts';
import { HttpCluster, MemoryCluster, VOTERS } from './coordination-cluster.ts';
import { describeCoordination } from './coordination-conformance.ts';

describeCoordination('embedded, in memory', async () => new MemoryCluster());
describeCoordination('embedded, over HTTP with files', () => HttpCluster.create());

const [A, B, C] = VOTERS as [(typeof VOTERS)[number], (typeof VOTERS)[number], (typeof VOTERS)[number]];

/** Lets the clock go on, and what follows from that settle: a message takes some turns of the event loop. */
async function passTo(clock: VirtualTime, ms: number): Promise<void> {
  clock.runUntil(ms);
  for (let turn = 0; turn < 4; turn++) await new Promise(setImmediate);
}

describe('embedded coordination without all voters', () => {
  test.each([0, 1, 2])('goes on when voter %i of three is gone', async (gone) => {
    await using cluster = await HttpCluster.create();
    await cluster.participants[gone]!.compareAndSet('k', 0, 'before');
    await cluster.stop(gone);
    const left = cluster.participants[(gone + 1) % 3]!;
    expect(await left.read('k')).toEqual({ version: 1, value: 'before' });
    expect(await left.compareAndSet('k', 1, 'after')).toMatchObject({
      kind: 'applied',
      register: { version: 2 },
    });
    expect(await cluster.participants[(gone + 2) % 3]!.read('k')).toEqual({ version: 2, value: 'after' });
  });

  test('reads within its time what a writer left at one of the two voters that answer', async () => {
    await using cluster = new MemoryCluster();
    const { participants } = cluster;
    await participants[0].compareAndSet('k', 0, 'old');
    // A writer reached A and B, then hung together with A: its write is committed, and B and C disagree.
    const ballot = { counter: 50, proposer: 'gone' };
    const proposal = { version: 2, value: 'new', operation: 'gone:1' };
    for (const voter of [A, B]) cluster.handle(voter, { kind: 'accept', key: 'k', ballot, proposal });
    cluster.silence(A);
    expect(await participants[2].read('k')).toEqual({ version: 2, value: 'new' });
  });

  test('a watch finds out what a writer left at one of the two voters that answer', async () => {
    await using cluster = new MemoryCluster({ watchIntervalMs: 10, messageTimeoutMs: 30 });
    const ballot = { counter: 50, proposer: 'gone' };
    const proposal = { version: 1, value: 'left', operation: 'gone:1' };
    for (const voter of [A, B]) cluster.handle(voter, { kind: 'accept', key: 'k', ballot, proposal });
    cluster.silence(A);
    const told: unknown[] = [];
    const end = cluster.participants[2].watch('k', ({ value }) => told.push(value));
    await expect.poll(() => told, { timeout: 3_000 }).toEqual(['left']);
    end();
  });

  test('without a majority a read throws, a write is unknown, both within their time', async () => {
    const clock = new VirtualTime();
    await using cluster = new MemoryCluster({ clock, messageTimeoutMs: 40, callTimeoutMs: 200 });
    cluster.silence(B);
    cluster.silence(C);
    let endedAtMs: number | null = null;
    const calls = Promise.allSettled([
      cluster.participants[0].read('k'),
      cluster.participants[0].compareAndSet('k', 0, 'x'),
    ]).finally(() => (endedAtMs = clock.nowMs()));
    for (let ms = 0; ms <= 1_000 && endedAtMs === null; ms++) await passTo(clock, ms);
    // The last messages may still be under way when the time of the call is over.
    expect(endedAtMs).toBeLessThanOrEqual(240);
    const [read, write] = await calls;
    expect(read).toMatchObject({
      status: 'rejected',
      reason: { code: 'QUORUM_NOT_REACHED', retryable: true },
    });
    expect(write).toMatchObject({ status: 'fulfilled', value: { kind: 'unknown' } });
    cluster.wake(B);
    const later = cluster.participants[0].compareAndSet('k', 0, 'y');
    for (let ms = 1_001; ms <= 1_200; ms++) await passTo(clock, ms);
    expect(await later).toMatchObject({ kind: 'applied' });
  });

  test('who has looked is not refused for an old ballot', async () => {
    await using cluster = new MemoryCluster();
    const { participants, sent } = cluster;
    for (let version = 0; version < 5; version++) await participants[0].compareAndSet('k', version, version);
    await participants[1].read('k');
    sent.length = 0;
    expect(await participants[1].compareAndSet('k', 5, 'other')).toMatchObject({ kind: 'applied' });
    expect(sent.filter(({ message }) => message.kind === 'prepare')).toHaveLength(VOTERS.length);
  });

  test('a write that was expected needs no second promise, and is refused where others wrote since', async () => {
    await using cluster = new MemoryCluster();
    const { participants, sent } = cluster;
    const count = (kind: string): number => sent.filter(({ message }) => message.kind === kind).length;
    participants[0].expectWrite('k');
    await expect.poll(() => count('prepare')).toBe(VOTERS.length);
    expect(await participants[0].compareAndSet('k', 0, 'x')).toMatchObject({ kind: 'applied' });
    expect(count('prepare')).toBe(VOTERS.length);
    // Its ballot is spent: the next write takes another.
    expect(await participants[0].compareAndSet('k', 1, 'y')).toMatchObject({ kind: 'applied' });
    expect(count('prepare')).toBe(2 * VOTERS.length);

    participants[1].expectWrite('k');
    await expect.poll(() => count('prepare')).toBe(3 * VOTERS.length);
    expect(await participants[2].compareAndSet('k', 2, 'first')).toMatchObject({ kind: 'applied' });
    const late = await participants[1].compareAndSet('k', 2, 'late');
    expect(late).toEqual({ kind: 'conflict', current: { version: 3, value: 'first' } });
    expect(await participants[0].read('k')).toEqual({ version: 3, value: 'first' });
  });

  test('the author of a write that a later round completed learns that it was applied', async () => {
    await using cluster = new MemoryCluster({ messageTimeoutMs: 50, callTimeoutMs: 2_000 });
    const { participants, sent } = cluster;
    const write = participants[0].compareAndSet('k', 0, 'mine');
    await expect
      .poll(() => sent.some(({ message }) => message.kind === 'accept'), { interval: 0 })
      .toBe(true);
    await participants[1].read('k');
    const result = await write;
    expect(result).toEqual({ kind: 'applied', register: { version: 1, value: 'mine' } });
  });

  test('a read of a settled register writes nothing', async () => {
    await using cluster = new MemoryCluster();
    await cluster.participants[0].compareAndSet('k', 0, 'x');
    cluster.sent.length = 0;
    await cluster.participants[1].read('k');
    expect(cluster.sent.map(({ message }) => message.kind)).toEqual(['peek', 'peek', 'peek']);
  });

  test('a watch hears of a change at once when the local acceptor tells', async () => {
    await using cluster = new MemoryCluster({ watchIntervalMs: 60_000 });
    const told: number[] = [];
    const end = cluster.participants[1].watch('k', ({ version }) => told.push(version));
    await cluster.participants[0].compareAndSet('k', 0, 'x');
    cluster.participants[1].notify('k');
    await expect.poll(() => told, { timeout: 2_000 }).toEqual([1]);
    end();
  });
});
