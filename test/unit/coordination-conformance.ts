import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Coordination } from '../../src/coordination/contract.ts';

/** Three participants that agree with each other, each as another process would be. */
export interface ConformanceCluster extends AsyncDisposable {
  readonly participants: readonly [Coordination, Coordination, Coordination];
}

/** What every implementation of {@link Coordination} must do while a majority is well. */
export function describeCoordination(name: string, createCluster: () => Promise<ConformanceCluster>): void {
  describe(`coordination: ${name}`, () => {
    let cluster: ConformanceCluster;
    beforeEach(async () => {
      cluster = await createCluster();
    });
    afterEach(() => cluster[Symbol.asyncDispose]());

    test('a register that was never written is at version 0 without a value', async () => {
      for (const participant of cluster.participants) {
        expect(await participant.read('k')).toEqual({ version: 0, value: undefined });
      }
    });

    test('all read what one wrote, as it was written', async () => {
      const [a] = cluster.participants;
      const value = { text: 'Grüße\n"\u2028', list: [1, null, true, { deep: -0.5 }], empty: {} };
      expect(await a.compareAndSet('k', 0, value)).toEqual({
        kind: 'applied',
        register: { version: 1, value },
      });
      for (const participant of cluster.participants)
        expect(await participant.read('k')).toEqual({ version: 1, value });
    });

    test('a write on another version is a conflict that tells the present one and changes nothing', async () => {
      const [a, b] = cluster.participants;
      await a.compareAndSet('k', 0, 'first');
      for (const expectedVersion of [0, 2, 99]) {
        const result = await b.compareAndSet('k', expectedVersion, 'second');
        expect(result).toEqual({ kind: 'conflict', current: { version: 1, value: 'first' } });
      }
      expect(await a.read('k')).toEqual({ version: 1, value: 'first' });
    });

    test('of writes on one version at the same time at most one is applied', async () => {
      const results = await Promise.all(
        cluster.participants.map((participant, index) => participant.compareAndSet('k', 0, index)),
      );
      const winners = results.flatMap((result) => (result.kind === 'applied' ? [result.register.value] : []));
      expect(winners.length).toBeLessThanOrEqual(1);
      const final = await cluster.participants[0].read('k');
      if (winners.length === 1) expect(final).toEqual({ version: 1, value: winners[0] });
      for (const result of results) if (result.kind === 'conflict') expect(result.current).toEqual(final);
    });

    test('nothing is lost or done twice when all change one register', { timeout: 15_000 }, async () => {
      const names = cluster.participants.flatMap((_, index) =>
        ['x', 'y', 'z'].map((round) => `${index}${round}`),
      );
      await Promise.all(names.map((id) => append(cluster.participants[Number(id[0])]!, 'k', id)));
      const { version, value } = await cluster.participants[1].read('k');
      expect([...(value as string[])].sort()).toEqual(names.sort());
      expect(version).toBe(names.length);
    });

    test('registers are independent of each other', async () => {
      const [a, b] = cluster.participants;
      await a.compareAndSet('k', 0, 'one');
      await b.compareAndSet('l', 0, 'two');
      expect(await b.read('k')).toEqual({ version: 1, value: 'one' });
      expect(await a.read('l')).toEqual({ version: 1, value: 'two' });
    });

    test('keys that begin alike, or hold any character, name different registers', async () => {
      const [a, b] = cluster.participants;
      const keys = ['k', 'kk', 'k/', 'k/a', 'K', 'ключ \n"\u2028', '..'];
      for (const key of keys) {
        expect(await a.compareAndSet(key, 0, key)).toMatchObject({ kind: 'applied' });
      }
      for (const key of keys) expect(await b.read(key)).toEqual({ version: 1, value: key });
    });

    test('the version counts writes, also of the same value, and any JSON is a value', async () => {
      const [a, b] = cluster.participants;
      const values = [null, null, false, 0, '', [], {}];
      for (const [version, value] of values.entries()) {
        expect(await a.compareAndSet('k', version, value)).toEqual({
          kind: 'applied',
          register: { version: version + 1, value },
        });
        expect(await b.read('k')).toEqual({ version: version + 1, value });
      }
    });

    test(
      'no read and no conflict is older than what was told before it began',
      { timeout: 15_000 },
      async () => {
        let newestTold = 0;
        let isWriting = true;
        const readers = cluster.participants.map(async (participant) => {
          let count = 0;
          for (; isWriting || count === 0; count++) {
            const told = newestTold;
            const { version } = await participant.read('k');
            expect(version).toBeGreaterThanOrEqual(told);
            newestTold = Math.max(newestTold, version);
            await delay(1);
          }
          return count;
        });
        const writers = cluster.participants.map(async (participant) => {
          for (let applied = 0; applied < 5;) {
            const told = newestTold;
            const result = await participant.compareAndSet('k', told, `after ${told}`);
            if (result.kind === 'unknown') continue;
            const { version } = result.kind === 'applied' ? result.register : result.current;
            expect(version).toBeGreaterThanOrEqual(told);
            newestTold = Math.max(newestTold, version);
            if (result.kind === 'applied') applied++;
          }
        });
        await Promise.all(writers).finally(() => (isWriting = false));
        expect(Math.min(...(await Promise.all(readers)))).toBeGreaterThan(0);
      },
    );

    test('a watch of a register that is not there yet tells its first version, to each who watches', async () => {
      const [a, b, c] = cluster.participants;
      const told: number[][] = [[], [], []];
      const ends = [b, b, c].map((watcher, index) =>
        watcher.watch('k', ({ version }) => told[index]?.push(version)),
      );
      await b.read('k');
      expect(told).toEqual([[], [], []]);
      await a.compareAndSet('k', 0, 'x');
      await expect.poll(() => told, { timeout: 5_000 }).toEqual([[1], [1], [1]]);
      for (const end of ends) end();
    });

    test('after close nothing more is told, and the others go on', async () => {
      const [a, b, c] = cluster.participants;
      await a.compareAndSet('k', 0, 'x');
      const told: number[] = [];
      const others: number[] = [];
      b.watch('k', ({ version }) => told.push(version));
      c.watch('k', ({ version }) => others.push(version));
      await expect.poll(() => told.length, { timeout: 5_000 }).toBe(1);
      await b.close();
      expect(await a.compareAndSet('k', 1, 'y')).toMatchObject({ kind: 'applied' });
      await expect.poll(() => others.at(-1), { timeout: 5_000 }).toBe(2);
      expect(told).toEqual([1]);
    });

    test('a watch tells growing versions up to the newest, and nothing after its end', async () => {
      const [a, b] = cluster.participants;
      const told: unknown[] = [];
      const versions: number[] = [];
      const end = b.watch('k', ({ version, value }) => {
        versions.push(version);
        told.push(value);
      });
      for (let version = 0; version < 5; version++) await a.compareAndSet('k', version, `v${version + 1}`);
      await expect.poll(() => told.at(-1), { timeout: 3_000 }).toBe('v5');
      expect(versions).toEqual([...new Set(versions)].sort((x, y) => x - y));
      end();
      const count = told.length;
      const others: unknown[] = [];
      const endOther = b.watch('k', ({ value }) => others.push(value));
      await a.compareAndSet('k', 5, 'v6');
      await expect.poll(() => others.at(-1), { timeout: 3_000 }).toBe('v6');
      expect(told.length).toBe(count);
      endOther();
    });

    test('a watch begins with the present value', async () => {
      const [a, b] = cluster.participants;
      await a.compareAndSet('k', 0, 'present');
      const end = await new Promise<() => void>((resolve) => {
        const stop = b.watch('k', (register) => {
          expect(register).toEqual({ version: 1, value: 'present' });
          queueMicrotask(() => resolve(stop));
        });
      });
      end();
    });
  });
}

/** Adds `id` to a register's list exactly once, whatever the calls answer. */
async function append(coordination: Coordination, key: string, id: string): Promise<void> {
  for (
    const deadline = performance.now() + 8_000;
    performance.now() < deadline;
    await delay(Math.random() * 10)
  ) {
    const { version, value } = await coordination.read(key);
    const list = (value ?? []) as string[];
    if (list.includes(id)) return;
    const result = await coordination.compareAndSet(key, version, [...list, id]);
    if (result.kind === 'applied') return;
  }
  throw new Error(`${id} was not added in time`);
}
