import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { cart, cas, lww, map } from '../../../src/leaderless/index.ts';
import type { AddOperation, Quorum } from '../../../src/leaderless/index.ts';
import { until } from '../fixture.ts';
import { IndependentServers } from './servers.ts';

let servers: IndependentServers;
let one: Quorum;
let two: Quorum;

beforeAll(async () => {
  servers = await IndependentServers.start();
  // Both find nothing and found it at once.
  [one, two] = await Promise.all([servers.quorum(), servers.quorum()]);
});

afterAll(async () => {
  await servers?.[Symbol.asyncDispose]();
});

describe('collections on three servers', () => {
  it('give back what was put, from any process, and in tables that SQL can read', async () => {
    const prefs = one.collection('prefs', lww<{ theme: string }>());
    const written = await prefs.put('ada', { theme: 'dark' });
    expect(written.answeredBy.length).toBeGreaterThanOrEqual(2);
    const got = await two.collection('prefs', lww<{ theme: string }>()).get('ada');
    expect(got).toMatchObject({ value: { theme: 'dark' }, version: written.version });
    expect(got.answeredBy).toHaveLength(2);
    const client = new pg.Client({ connectionString: servers.servers[0]?.url ?? '' });
    await client.connect();
    try {
      await until('the first server has it too', async () => {
        const { rows } = await client.query<{ theme: string }>(
          `SELECT value::jsonb ->> 'theme' AS theme FROM lockstep_leaderless.registers WHERE collection = 'prefs' AND key = 'ada'`,
        );
        return rows[0]?.theme === 'dark';
      });
    } finally {
      await client.end();
    }
    await prefs.delete('ada');
    expect((await prefs.get('ada')).value).toBeUndefined();
  });

  it('merge fields that two requests of one session write at once', async () => {
    const mine = one.collection('sessions', map<Record<string, number>>());
    const other = two.collection('sessions', map<Record<string, number>>());
    await Promise.all(
      Array.from({ length: 40 }, (_, index) =>
        (index % 2 === 0 ? mine : other).set('s1', { [`field${index}`]: index }),
      ),
    );
    const { value } = await mine.get('s1');
    expect(Object.keys(value ?? {})).toHaveLength(40);
    await mine.set('s1', { field0: undefined as unknown as number });
    expect(Object.keys((await other.get('s1')).value ?? {})).toHaveLength(39);
    await other.delete('s1');
    expect((await mine.get('s1')).value).toBeUndefined();
  });

  it('add up what several processes put in a cart, and take out what was seen', async () => {
    const mine = one.collection('carts', cart());
    const other = two.collection('carts', cart());
    await Promise.all(
      Array.from({ length: 60 }, (_, index) =>
        // Opened anew each time, as an app may: that must not take up a name again.
        (index % 2 === 0 ? one.collection('carts', cart()) : other).add('ada', {
          sku: index % 3,
          quantity: 1,
        }),
      ),
    );
    expect((await mine.get('ada')).value.toSorted((a, b) => Number(a.sku) - Number(b.sku))).toEqual([
      { sku: 0, quantity: 20 },
      { sku: 1, quantity: 20 },
      { sku: 2, quantity: 20 },
    ]);
    await mine.set('ada', 0, 3);
    await other.remove('ada', 1);
    await other.add('ada', { sku: 0, quantity: 2 });
    const after = await mine.get('ada');
    expect(after.value.toSorted((a, b) => Number(a.sku) - Number(b.sku))).toEqual([
      { sku: 0, quantity: 5 },
      { sku: 2, quantity: 20 },
    ]);
    await mine.clear('ada');
    expect((await other.get('ada')).value).toEqual([]);
  });

  it('give a seat to one of many, in two processes', async () => {
    const mine = one.collection('seats', cas<{ owner: number }>());
    const other = two.collection('seats', cas<{ owner: number }>());
    const results = await Promise.all(
      Array.from({ length: 40 }, (_, owner) =>
        (owner % 2 === 0 ? mine : other).update('12A', (seat) => (seat ? undefined : { owner })),
      ),
    );
    const winners = results.flatMap((result, owner) => (result.kind === 'applied' ? [owner] : []));
    expect(winners).toHaveLength(1);
    // The first version is above what any lower ballot could have counted to: more than 1 when the two were in each other's way.
    const { value, version: first } = await other.get('12A');
    expect(value).toEqual({ owner: winners[0] });
    const refused = { kind: 'not-applied', version: first };
    const [second, third] = [first + 1, first + 2];
    expect(await mine.create('12A', { owner: -1 })).toMatchObject(refused);
    expect(await mine.compareAndSet('12A', first, { owner: 7 })).toMatchObject({
      kind: 'applied',
      version: second,
    });
    expect(await other.compareAndSet('12A', first, { owner: 8 })).toMatchObject({
      kind: 'not-applied',
      version: second,
    });
    expect(await other.delete('12A', { version: second })).toMatchObject({ kind: 'applied', version: third });
    expect(await mine.get('12A')).toMatchObject({ value: undefined, version: third });
  });

  it('count every increment of one hot key once', async () => {
    const counters = [one, two].map((quorum) => quorum.collection('counts', cas<number>()));
    const results = await Promise.all(
      Array.from({ length: 300 }, async (_, index) =>
        counters[index % 2]?.update('hot', (count) => (count ?? 0) + 1, { deadlineMs: 30_000 }),
      ),
    );
    expect(results.every((result) => result?.kind === 'applied')).toBe(true);
    expect(new Set(results.map((result) => (result as { value: number }).value)).size).toBe(300);
    expect((await one.collection('counts', cas<number>()).get('hot')).value).toBe(300);
  });

  it('refuse what they cannot keep', async () => {
    const prefs = one.collection('prefs', lww<unknown>());
    await expect(prefs.put('', 1)).rejects.toMatchObject({ code: 'VALUE_REFUSED' });
    await expect(prefs.put('k', undefined)).rejects.toMatchObject({ code: 'VALUE_REFUSED' });
    await expect(prefs.put('k', 'x'.repeat(2_000_000))).rejects.toMatchObject({ code: 'VALUE_REFUSED' });
    const three = await servers.quorum();
    await expect(three.collection('seats', lww<number>()).put('k', 1)).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
      outcome: 'not-applied',
    });
    const strict = one.collection(
      'strict',
      lww<string>({
        '~standard': {
          version: 1,
          vendor: 'test',
          validate: (value) => (typeof value === 'string' ? { value } : { issues: [{ message: 'no text' }] }),
        },
      }),
    );
    await expect(strict.put('k', 1 as unknown as string)).rejects.toMatchObject({ code: 'VALUE_REFUSED' });
    await strict.put('k', 'text');
  });
});

describe('while servers are away', () => {
  it('one of three is not missed, gets what it missed when it is back, and two of three is said', async () => {
    const carts = one.collection('carts', cart());
    const seats = one.collection('seats', cas<number>());
    await carts.add('eve', { sku: 1, quantity: 1 });
    await servers.kill('q3');
    await carts.add('eve', { sku: 1, quantity: 1 });
    await seats.create('free', 1);
    expect((await carts.get('eve')).value).toEqual([{ sku: 1, quantity: 2 }]);
    await until('it is seen to be away', () => one.status().nodes[2]?.state === 'down');
    for (let index = 0; index < 20; index++) await carts.add(`eve${index}`, { sku: 1, quantity: 1 });
    await until('keys were noted for it', () => one.status().hints.noted >= 20);

    await servers.kill('q2');
    await until('the second is seen to be away', () => one.status().nodes[1]?.state === 'down');
    expect(one.status().hasQuorum).toBe(false);
    const failed = carts.add('eve', { sku: 1, quantity: 1 }, { deadlineMs: 300 });
    await expect(failed).rejects.toMatchObject({ code: 'QUORUM_NOT_REACHED', outcome: 'unknown' });
    const { details } = (await failed.catch((error: unknown) => error)) as {
      details: { operation: AddOperation };
    };
    await expect(seats.get('free', { deadlineMs: 300 })).rejects.toMatchObject({
      code: 'QUORUM_NOT_REACHED',
    });
    expect(
      await seats.create('other', 1, { deadlineMs: 300 }).catch((error: unknown) => error),
    ).toMatchObject({
      code: 'QUORUM_NOT_REACHED',
      outcome: 'not-applied',
    });
    const accepted = await carts.add('eve', { sku: 2, quantity: 1 }, { level: 'accept' });
    expect(accepted.answeredBy).toEqual(['q1']);

    await servers.restart('q2');
    await servers.restart('q3');
    await until('both are back', () => one.status().nodes.every(({ state }) => state === 'up'));
    // However often it is sent, it counts once.
    for (let time = 0; time < 3; time++)
      await carts.add('eve', { sku: 1, quantity: 1 }, { operation: details.operation });
    expect((await carts.get('eve', { level: 'all' })).value).toEqual([
      { sku: 1, quantity: 3 },
      { sku: 2, quantity: 1 },
    ]);
    const client = new pg.Client({ connectionString: servers.named('q3').url });
    await client.connect();
    try {
      await until('the hints brought it all it missed', async () => {
        const { rows } = await client.query<{ count: number }>(
          `SELECT count(DISTINCT key)::int AS count FROM lockstep_leaderless.tallies WHERE key LIKE 'eve_%'`,
        );
        return rows[0]?.count === 20;
      });
    } finally {
      await client.end();
    }
  });
});
