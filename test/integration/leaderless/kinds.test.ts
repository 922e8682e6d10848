import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { cas, counter, lww, map, set, siblings } from '../../../src/leaderless/index.ts';
import type { Quorum } from '../../../src/leaderless/index.ts';
import { purgeStatement } from '../../../src/leaderless/nodes/key-statements.ts';
import { until } from '../fixture.ts';
import { IndependentServers } from './servers.ts';

let servers: IndependentServers;
let one: Quorum;
let two: Quorum;

beforeAll(async () => {
  servers = await IndependentServers.start();
  one = await servers.quorum({ deadlineMs: 20_000, statementTimeoutMs: 10_000 });
  two = await servers.quorum({ deadlineMs: 20_000, statementTimeoutMs: 10_000 });
});

afterAll(async () => {
  await servers?.[Symbol.asyncDispose]();
});

async function listOf<T>(items: AsyncIterable<T>): Promise<readonly T[]> {
  const list: T[] = [];
  for await (const item of items) list.push(item);
  return list;
}

describe('kinds on three servers', () => {
  it('siblings: what was written at once stands beside each other until it is resolved', async () => {
    const mine = one.collection('notes', siblings<string>());
    const other = two.collection('notes', siblings<string>());
    await mine.put('k', 'first');
    const { context } = await mine.get('k');
    await Promise.all([mine.put('k', 'mine', { context }), other.put('k', 'other', { context })]);
    expect((await mine.get('k')).value.toSorted()).toEqual(['mine', 'other']);
    await other.resolve('k', (values) => values.toSorted().join('+'));
    expect((await mine.get('k')).value).toEqual(['mine+other']);
    // What the first context saw is gone already, and a late write with it takes nothing else away.
    await mine.put('k', 'late', { context });
    expect((await other.get('k')).value.toSorted()).toEqual(['late', 'mine+other']);
    await mine.delete('k');
    expect((await other.get('k')).value).toEqual([]);
    const forged = JSON.stringify([['dot', Number.MAX_SAFE_INTEGER]]) as NonNullable<typeof context>;
    await expect(mine.put('k', 'x', { context: forged })).rejects.toMatchObject({ code: 'VALUE_REFUSED' });
    await mine.put('k', 'the clock still works');
  });

  it('sets and counters: adds of several processes are all there', async () => {
    const [mine, other] = [one, two].map((each) => each.collection('tags', set<string | number>()));
    await mine?.add('k', ['red', 7]);
    await other?.add('k', 'red');
    await mine?.remove('k', 7);
    expect((await other?.get('k'))?.value).toEqual(['red']);
    expect(await mine?.has('k', 'red')).toBe(true);
    await other?.clear('k');
    expect((await mine?.get('k'))?.value).toEqual([]);
    const [up, down] = [one, two].map((each) => each.collection('hits', counter()));
    await Promise.all(
      Array.from({ length: 50 }, (_, index) =>
        (index % 5 === 0 ? down : up)?.add('k', index % 5 === 0 ? -2 : 3),
      ),
    );
    expect((await down?.get('k'))?.value).toBe(40 * 3 - 10 * 2);
    await up?.reset('k');
    expect((await down?.get('k'))?.value).toBe(0);
  });

  it('refuse what their schema refuses', async () => {
    const refused = { code: 'VALUE_REFUSED', outcome: 'not-applied' };
    const seats = one.collection('checked-seats', cas(z.object({ owner: z.string() })));
    await expect(seats.create('a', { owner: 7 as unknown as string })).rejects.toMatchObject(refused);
    await expect(seats.update('a', () => ({ owner: 7 as unknown as string }))).rejects.toMatchObject(refused);
    expect((await seats.create('a', { owner: 'ada' })).kind).toBe('applied');
    const late = cas(z.string().refine(async () => Promise.resolve(true)));
    await expect(one.collection('late', late).create('a', 'x')).rejects.toMatchObject(refused);
    const sessions = one.collection(
      'checked-sessions',
      map<{ visits: number }>({ visits: z.number().int() }),
    );
    await expect(sessions.set('a', { visits: 1.5 })).rejects.toMatchObject(refused);
    await sessions.set('a', { visits: 2 });
    const tags = one.collection('checked-tags', set(z.string().max(3)));
    await expect(tags.add('a', ['abc', 'abcd'])).rejects.toMatchObject(refused);
    expect((await tags.get('a')).value).toEqual([]);
  });
});

describe('many keys', () => {
  it('are written, read and found by prefix, page after page', async () => {
    const items = one.collection('items', lww<number>());
    const keys = Array.from({ length: 60 }, (_, index) => `a/${String(index).padStart(3, '0')}`);
    await items.putMany(keys.map((key, index) => [key, index]));
    await items.put('b/1', 1);
    await items.delete('a/010');
    const got = await two.collection('items', lww<number>()).getMany([...keys, 'missing']);
    expect(got.size).toBe(61);
    expect([got.get('a/059')?.value, got.get('a/010')?.value, got.get('missing')?.value]).toEqual([
      59,
      undefined,
      undefined,
    ]);
    const found: string[] = [];
    for await (const { key, value } of items.scan('a/', { pageSize: 7 })) {
      expect(key).toBe(keys[value ?? -1]);
      found.push(key);
    }
    expect(found).toEqual(keys.filter((key) => key !== 'a/010'));
    const seats = one.collection('scanned', cas<string>());
    await Promise.all(['x1', 'x2', 'y1'].map((key) => seats.create(key, key)));
    await seats.delete('x2');
    expect((await listOf(seats.scan('x'))).map(({ key }) => key)).toEqual(['x1']);
  });
});

describe('values that end', () => {
  it('are gone from their end on, and live on when touched', async () => {
    const short = one.collection('short', map<Record<string, string>>(), { ttl: '400ms' });
    await short.set('k', { a: '1' });
    await short.set('touched', { a: '1', b: '2' }, { ttl: '10m' });
    const long = two.collection('short', map<Record<string, string>>(), { ttl: '1h' });
    expect(await long.touch('touched', { level: 'all' })).toBe(true);
    await until('the value has ended', async () => (await short.get('k')).value === undefined);
    expect(await long.touch('k')).toBe(false);
    expect((await short.get('touched')).value).toEqual({ a: '1', b: '2' });
    expect((await listOf(short.scan())).map(({ key }) => key)).toEqual(['touched']);
    const client = new pg.Client({ connectionString: servers.servers[0]?.url ?? '' });
    await client.connect();
    try {
      const { rows } = await client.query(
        `SELECT field, expires_at_ms::float8 > $1 AS is_prolonged FROM lockstep_leaderless.registers
         WHERE collection = 'short' AND key = 'touched' ORDER BY field`,
        [Date.now() + 1_800_000],
      );
      expect(rows).toEqual([
        { field: 'a', is_prolonged: true },
        { field: 'b', is_prolonged: true },
      ]);
    } finally {
      await client.end();
    }
  });

  it('free their space at a server, and stay the same write', async () => {
    await one.collection('freed', lww<string>(), { ttl: '1ms' }).put('k', 'v', { level: 'all' });
    await one.collection('freed', lww<string>()).put('kept', 'v', { level: 'all' });
    // The clock of whoever asks is two hours ahead.
    await one.collection('freed', lww<string>(), { ttl: '1h' }).put('later', 'v', { level: 'all' });
    const client = new pg.Client({ connectionString: servers.servers[0]?.url ?? '' });
    await client.connect();
    try {
      const { text, values, decode } = purgeStatement({
        kind: 'purge',
        beforeMs: Date.now() + 7_200_000,
        limit: 1_000,
      });
      const { rows } = await client.query({ text, values: [...values], rowMode: 'array' });
      expect(decode(rows as unknown[][])).toEqual([{ kind: 'purged', count: expect.any(Number) as number }]);
      const left = await client.query(
        `SELECT key, value, at > 0 AS has_time FROM lockstep_leaderless.registers WHERE collection = 'freed' ORDER BY key`,
      );
      expect(left.rows).toEqual([
        { key: 'k', value: null, has_time: true },
        { key: 'kept', value: '"v"', has_time: true },
        { key: 'later', value: '"v"', has_time: true },
      ]);
    } finally {
      await client.end();
    }
  });
});

describe('watch', () => {
  it('gives what is there and each change after it, from any process, until it is left', async () => {
    const hits = one.collection('watched', counter());
    const seats = one.collection('watched-seats', cas<string>());
    await hits.add('k', 1);
    const seen: number[] = [];
    for await (const { value } of two.collection('watched', counter()).watch('k', { everyMs: 20 })) {
      seen.push(value);
      if (value >= 3) break;
      await hits.add('k', 1);
    }
    expect(seen).toEqual([1, 2, 3]);
    const watch = two.collection('watched-seats', cas<string>()).watch('12A', { everyMs: 20 });
    expect((await watch.next()).value?.value).toBeUndefined();
    await seats.create('12A', 'ada');
    expect((await watch.next()).value?.value).toBe('ada');
    const stop = new AbortController();
    const ended = listOf(seats.watch('12A', { everyMs: 20, signal: stop.signal }));
    stop.abort();
    await ended;
    await watch.return(undefined);
  });

  it('goes on when a server is down, and ends when the quorum is closed', async () => {
    const closing = await servers.quorum();
    const watch = closing.collection('watched-prefs', lww<number>()).watch('k', { everyMs: 20 });
    expect((await watch.next()).value?.value).toBeUndefined();
    await servers.kill('q2');
    try {
      await until('it is written without that server', () =>
        one
          .collection('watched-prefs', lww<number>())
          .put('k', 5)
          .then(() => true),
      );
      expect((await watch.next()).value?.value).toBe(5);
      const end = watch.next();
      await closing.close();
      expect(await end).toMatchObject({ done: true });
    } finally {
      await servers.restart('q2');
    }
  });
});
